"""Coding by the name of a codec: the general ones, and `model`, which is bitlm's own.

    code_steps          bytes ─→ `Coded`: what came of it, its ratio, the seconds it took
    code_or_raw_steps   the same, but where the codec fails the bytes as they are, and a warning that says so
    decode_steps        back. A failure is an error here: nobody is to work with what was not sent

`model` codes with the model that is given, as it is now, else by a context mixer that learns from the data alone. ratio =
compressed / raw, of bytes or of bits.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.runlength import compression_ratio
from bitlm_core.compression.codecs import Codec, general_codec
from bitlm_core.compression.container import DecoderLimits
from bitlm_core.compression.decompress import decompress_steps
from bitlm_core.compression.self_contained import compress_steps
from bitlm_core.errors import BitLMError
from bitlm_core.steps import timed

if TYPE_CHECKING:  # brings torch, which only models need
    from bitlm_core.compression.model_codec import ModelCodec

MEMORY_MIB = 1024
"""Of tables, that decoding may take."""


@dataclass(frozen=True)
class Coded:
    """What a codec made of `num_bytes`. `ratio` is NaN of none. `seconds`: of CPU time of the thread that asked.

    `codec` is `raw`, and `warning` says why, where the codec that was asked for failed.
    """

    codec: str
    data: bytes
    num_bytes: int
    ratio: float
    seconds: float
    warning: str = ""


@dataclass(frozen=True)
class OwnCodec:
    """bitlm's own, with a model or without."""

    model: ModelCodec | None = None
    name: str = "model"

    def encode_steps(self, data: NDArray[np.uint8]) -> Generator[float, None, bytes]:
        """See `Codec`."""
        return self.model.compress_steps(data) if self.model else compress_steps(data)

    def decode_steps(self, coded: bytes, max_bytes: int) -> Generator[float, None, bytes]:
        """See `Codec`. Raises `ConfigError` where it takes a model and there is none."""
        limits = DecoderLimits(num_bytes=max_bytes, memory_mib=MEMORY_MIB)
        found = yield from decompress_steps(coded, self.model, limits=limits)
        return found.tobytes()


def codec_of(name: str, model: ModelCodec | None = None) -> Codec:
    """The codec of that name. Raises `ConfigError` as `general_codec`."""
    return OwnCodec(model) if name == "model" else general_codec(name)


def code_steps(name: str, data: NDArray[np.uint8], model: ModelCodec | None = None) -> Generator[float, None, Coded]:
    """Code bytes, yielding the share done. Raises `ConfigError`, `CodecError` or `ResourceLimitError`."""
    coded, seconds = yield from timed(codec_of(name, model).encode_steps(data))
    return Coded(name, coded, len(data), compression_ratio(len(coded), 8 * len(data)), seconds)


def code_or_raw_steps(name: str, data: NDArray[np.uint8], model: ModelCodec | None = None) -> Generator[float, None, Coded]:
    """As `code_steps`, for who would rather have the bytes as they are than nothing."""
    try:
        return (yield from code_steps(name, data, model))
    except (BitLMError, MemoryError) as error:
        warning = f"codec {name} failed, so the bytes are not compressed: {str(error) or type(error).__name__}"
        return Coded("raw", data.tobytes(), len(data), compression_ratio(len(data), 8 * len(data)), 0.0, warning)


def decode_steps(
    name: str, coded: bytes, *, max_bytes: int, model: ModelCodec | None = None
) -> Generator[float, None, tuple[bytes, float]]:
    """What was coded and the CPU seconds it took, yielding the share done. Raises as `Codec.decode_steps`."""
    return timed(codec_of(name, model).decode_steps(coded, max_bytes))
