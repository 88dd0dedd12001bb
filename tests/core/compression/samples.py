"""What the tests of compression share: small data of several kinds, and a mixer that has learned records."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitlm_core.compression.model_codec import ModelCodec
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer

RECORDS = [b'{"id": %d, "state": "%s", "load": 0.%d}\n' % (i, b"up" if i % 3 else b"down", i * 7 % 90) for i in range(120)]
LINES = b"".join(RECORDS[80:])
PACKETS = [bytes([0, 1, i, 0, 6, 1, 3, 0, i % 4]) for i in range(20)]
CAPTURE = bytes.fromhex("d4c3b2a102000400") + bytes(16)
CAPTURE += b"".join(i.to_bytes(8, "little") + len(p).to_bytes(4, "little") * 2 + p for i, p in enumerate(PACKETS))


def array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@lru_cache(maxsize=1)
def mixer() -> ContextMixer:
    """Has read the first 80 records, each as a document. Tests must leave it as it is."""
    trained = ContextMixer(MixingConfig(memory_mib=8, history_bytes=1 << 16))
    for record in RECORDS[:80]:
        trained.start_document()
        trained.read(array(record))
    return trained


@lru_cache(maxsize=1)
def codec() -> ModelCodec:
    return ModelCodec(None, mixer())
