"""Compression that needs no model: a context mixer learns the data while it codes it, and decoding learns the same."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bitlm_core.compression.container import (
    FINGERPRINT_BYTES,
    MAX_BYTES,
    MAX_LANES,
    FreshMixer,
    Header,
    crc_of,
    damaged,
    pack,
)
from bitlm_core.compression.lanes import MixerStream, Run, encode_lanes
from bitlm_core.errors import ConfigError, ContainerError, ResourceLimitError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import Profile, profile_of

PROBE = b"".join(b"%d, the %dth of many bytes\n\x00\xff" % (i * i, i) for i in range(24))
"""Read to learn whether another program computes the same."""
_MEMORY_PER_BYTE = 256  # of tables, per byte of data: more hardly helps
_LEAST_MIB, _MOST_MIB = 8, 160  # with the program around them 400 MB


def check_size(data: NDArray[np.uint8]) -> None:
    """Raise ResourceLimitError for more than fits into a container."""
    if len(data) > MAX_BYTES:
        raise ResourceLimitError(
            f"{len(data):,} bytes are more than the {MAX_BYTES:,} that one container holds: cut the data into several",
            estimate=len(data),
            limit=MAX_BYTES,
        )


def check_lanes(lanes: int) -> None:
    """Raise ConfigError for a number of lanes that there cannot be."""
    if not 1 <= lanes <= MAX_LANES:
        raise ConfigError(f"lanes={lanes} is not between 1 and {MAX_LANES}: 1 compresses best, one per core is fastest")


def config_for(num_bytes: int, memory_mib: int | None) -> MixingConfig:
    """The mixer for so many bytes: as much memory as they can use, at most `_MOST_MIB`, unless it is given.

    Raises ConfigError for an amount that a mixer cannot have.
    """
    if memory_mib is None:
        wanted = max(1, num_bytes * _MEMORY_PER_BYTE >> 20)
        memory_mib = min(_MOST_MIB, max(_LEAST_MIB, 1 << (wanted - 1).bit_length()))
    try:
        return MixingConfig(memory_mib=memory_mib)
    except ValidationError:
        raise ConfigError(f"memory_mib={memory_mib} is not between 8 and 1,024: more than 160 hardly helps") from None


def compress_steps(
    data: NDArray[np.uint8], *, memory_mib: int | None = None, lanes: int = 1, run: Run = map
) -> Generator[float, None, bytes]:
    """Compress, yielding the share done; the container. Data that does not get smaller is stored as it is.

    memory_mib: of the tables, per lane; None: by the size of the data. Raises ConfigError or ResourceLimitError.
    """
    check_size(data)
    check_lanes(lanes)
    config = config_for(-(-len(data) // lanes), memory_mib)
    profile = profile_of(data)
    streams = [MixerStream(ContextMixer(config, profile), learn=True) for _ in range(lanes)]
    codes = yield from encode_lanes(data, streams, run)
    settings = profile.model_dump(mode="json", exclude_defaults=True)
    fresh = FreshMixer(config.memory_mib, config.history_bytes, settings, fingerprint(config, profile))
    return smaller(data, "self-contained", "whole", fresh, codes)


def smaller(data: NDArray[np.uint8], kind: str, records: str, predictor: Any, sections: list[bytes]) -> bytes:
    """The container of these sections, or one of the data as it is, whichever is smaller."""
    crc = crc_of(data)
    coded = pack(Header(kind, len(data), crc, records, predictor, tuple(map(len, sections))), sections)
    stored = Header("stored", len(data), crc, records, None, (len(data),))
    return coded if len(coded) < len(data) + len(pack(stored, [])) else pack(stored, [data.tobytes()])


def streams_for(header: Header, fresh: FreshMixer) -> list[MixerStream]:
    """Mixers like those that coded. Raises ContainerError when this program's would compute something else."""
    try:
        profile = Profile(**fresh.settings)
        config = MixingConfig(memory_mib=fresh.memory_mib, history_bytes=fresh.history_bytes)
    except (ValidationError, TypeError):
        raise damaged("its settings are none of a mixer") from None
    if fingerprint(config, profile) != fresh.fingerprint:
        raise ContainerError(
            "the data was compressed by a version of bitlm whose context mixing computes otherwise: use that version",
            reason="version",
        )
    return [MixerStream(ContextMixer(config, profile), learn=True) for _ in header.sections]


def fingerprint(config: MixingConfig, profile: Profile) -> bytes:
    """Tells whether two programs' mixers of such settings predict the same: of what a small one makes of a probe."""
    return _fingerprint(config.model_copy(update={"memory_mib": _LEAST_MIB, "history_bytes": 4096}), profile)


@lru_cache(maxsize=16)
def _fingerprint(config: MixingConfig, profile: Profile) -> bytes:
    return hashlib.sha256(ContextMixer(config, profile).encode(np.frombuffer(PROBE, np.uint8))).digest()[:FINGERPRINT_BYTES]
