"""Lossless coding with a network, alone or as the mixer's expert: bytes to coded bytes and back.

Both sides run the same compiled kernels in the same order of operations, so their predictions are the same bits: on one
machine, with any number of bytes at a time. Machines should agree too (see `kernels.vectors`); `probe_digest` tells whether
they do: store it beside what was coded, and refuse to decode where it is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import cast

import numpy as np

from bitlm_core.errors import ConfigError
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.packed import Weights

PROBE_BYTES = 96


def code_stream(
    model: LanguageModel,
    mixer: ContextMixer | None,
    data: bytes,
    *,
    adaptive: bool = True,
    locality: Locality | None = None,
    weights: Weights = "float32",
) -> bytes:
    """The bytes in as many bits as `evaluate` says they cost (`adaptive`: online, else static), and less than a byte more.

    Neither model nor mixer changes. Raises ConfigError for a model that the compiled kernels cannot run.
    """
    predictor = _opened(model, mixer, adaptive, locality, weights)
    return _streams(predictor).encode(data, predictor.memory, learn=adaptive)


def decode_stream(
    model: LanguageModel,
    mixer: ContextMixer | None,
    coded: bytes,
    num_bytes: int,
    *,
    adaptive: bool = True,
    locality: Locality | None = None,
    weights: Weights = "float32",
) -> Generator[float, None, bytes]:
    """The `num_bytes` bytes that `code_stream` coded with the same model, mixer and settings; yields the share done.

    Anything decodes to something: whether it is right, only a check sum can tell. Raises ConfigError as `code_stream`, and for
    a negative number.
    """
    if num_bytes < 0:
        raise ConfigError(f"num_bytes={num_bytes} cannot be decoded: give the length of what was coded, 0 or more")
    predictor = _opened(model, mixer, adaptive, locality, weights)
    decoded = bytearray()
    for part in _streams(predictor).decode(coded, num_bytes, predictor.memory, learn=adaptive):
        decoded += part
        yield len(decoded) / num_bytes
    return bytes(decoded)


def probe_digest(model: LanguageModel, weights: Weights = "float32") -> str:
    """SHA-256 of what the network predicts along fixed bytes: the same where the same weights give the same predictions.

    Raises ConfigError for a model that the compiled kernels cannot run.
    """
    predictor = _opened(model, None, False, None, weights)
    probe = np.random.Generator(np.random.Philox(0)).integers(0, 256, PROBE_BYTES).astype(np.uint8)
    return hashlib.sha256(_streams(predictor).path_logits(probe.tobytes()).astype("<f4").tobytes()).hexdigest()


def _opened(
    model: LanguageModel, mixer: ContextMixer | None, adaptive: bool, locality: Locality | None, weights: Weights
) -> Predictor:
    return Predictor(model, mixer, adaptive=adaptive, locality=locality, weights=weights, running="fused")


def _streams(predictor: Predictor) -> FusedStreams:
    return cast(FusedStreams, predictor.fused)
