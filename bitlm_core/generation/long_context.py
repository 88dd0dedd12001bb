"""`infer_long`: what the model predicts along an input of any length, and how each window of it looks.

Windows of `ctx_bits` with `overlap` bits in common (both in 9-bit groups); every bit of the input is predicted once,
given the true bits before it in its window. Or with keys and values carried from window to window: then nothing is read
twice, and attention reaches back `overlap` bits beyond the window (chunked attention as far as its chunks reach).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.errors import ConfigError, ResourceLimitError
from bitlm_core.mixing.expert import carried_path_logits, network_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.probe import read_probed
from bitlm_core.mixing.windows import Window, count_windows, stream_windows
from bitlm_core.models.config import BITS_PER_GROUP
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.snapshot import mean_byte_distribution, measure_predictions, predicted_bits

# What one call may hold: the predicted bytes and a summary of each window.
MAX_BYTES = 16 << 20
MAX_WINDOWS = 65_536


@dataclass(frozen=True)
class WindowSummary:
    """One window: bytes [start_byte, start_byte + num_bytes) were predicted in it. `accuracy`: share of data bits right.

    The rest is its `TelemetrySnapshot`.
    """

    start_byte: int
    num_bytes: int
    bits_per_byte: float
    accuracy: float
    k: float
    c: float
    s: float
    transition_rate: float
    symbiosis_kl: float
    composite: float


@dataclass(frozen=True)
class LongInference:
    """`predicted`: the likelier value of each bit, as bytes. `ctx_bits`, `overlap`: as used, in whole groups."""

    predicted: bytes
    windows: tuple[WindowSummary, ...]
    ctx_bits: int
    overlap: int

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The predicted groups, nine bits a byte (parity computed): made at each call."""
        return bytes_to_bits(self.predicted)


def infer_long_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    reference: NDArray[np.float64],
    *,
    ctx_bits: int,
    overlap: int,
    carry: bool = False,
    settings: TelemetryConfig = TelemetryConfig(),  # noqa: B008 - frozen
) -> Generator[float, None, LongInference]:
    """Predict along `data`, yielding the share done after each window.

    `ctx_bits` larger than the model's window is brought down to it, and an overlap that is then too large to half of it
    (the result says what was used). Raises ConfigError when there is no data, a window is under one byte, or the overlap
    leaves no new byte in a window, or for carrying without a network or with positions that end; ResourceLimitError for more
    than `MAX_BYTES` or `MAX_WINDOWS`.
    """
    size, shared = _checked_windows(len(data), ctx_bits, overlap, window_bytes(model))
    mixer = mixer.copy() if mixer else None
    if mixer:
        mixer.start_document()
    predicted, summaries = bytearray(), []
    for window, mixed, distribution in _predictions(model, mixer, data, size, shared, carry=carry):
        part = data[window.predicted : window.end]
        bits = predicted_bits(mixed)
        predicted += np.packbits(bits, axis=1).tobytes()
        telemetry = measure_predictions(mixed, distribution, reference, settings)
        summaries.append(
            WindowSummary(
                start_byte=window.predicted,
                num_bytes=len(part),
                bits_per_byte=total_nats(mixed, part) / (math.log(2) * len(part)),
                accuracy=float((bits == np.unpackbits(part[:, None], axis=1)).mean()),
                **vars(telemetry),
            )
        )
        yield window.end / len(data)
    return LongInference(bytes(predicted), tuple(summaries), size * BITS_PER_GROUP, shared * BITS_PER_GROUP)


def _predictions(
    model: LanguageModel | None, mixer: ContextMixer | None, data: NDArray[np.uint8], size: int, shared: int, *, carry: bool
) -> Iterator[tuple[Window, NDArray[np.float32], NDArray[np.float64]]]:
    """For each window its path logits, and the mean byte distribution: the network's, or the mixer's where it is alone."""
    if model is None:
        if carry or mixer is None:
            raise ConfigError(
                "architecture='mix' has no keys and values to carry, and reads nothing twice: call infer_long without carry"
            )
        for window in stream_windows(len(data), size, shared):
            yield window, *read_probed(mixer, data[window.predicted : window.end], learn=False)
        return
    if carry:
        stream = carried_path_logits(model, data, size, model.carrying(size, shared))
    else:
        stream = network_path_logits(model, data, stream_windows(len(data), size, shared))
    for window, logits in stream:
        mixed = mixer.read(data[window.predicted : window.end], logits, learn=False) if mixer else logits
        yield window, mixed, mean_byte_distribution(model, data[window.start : window.end])


def _checked_windows(num_bytes: int, ctx_bits: int, overlap: int, max_bytes: int) -> tuple[int, int]:
    """Bytes in a window, and how many of them two neighbours share."""
    size, shared = min(ctx_bits // BITS_PER_GROUP, max_bytes), overlap // BITS_PER_GROUP
    if shared >= size and overlap < ctx_bits:
        shared = size // 2
    if not num_bytes or size < 1 or not 0 <= shared < size:
        raise ConfigError(
            f"{num_bytes} bytes in windows of {size} bytes (ctx_bits={ctx_bits}, at most "
            f"{max_bytes * BITS_PER_GROUP} for this model) with {shared} shared (overlap={overlap}) "
            "cannot be read: give at least 1 byte, ctx_bits of 9 or more, and an overlap smaller than ctx_bits"
        )
    windows = count_windows(num_bytes, size, shared)
    for estimate, limit, what in ((num_bytes, MAX_BYTES, "bytes"), (windows, MAX_WINDOWS, "windows")):
        if estimate > limit:
            raise ResourceLimitError(
                f"{estimate:,} {what} are more than one call reads ({limit:,}): give a part of the data"
                + (", a larger ctx_bits or a smaller overlap" if what == "windows" else ""),
                estimate=estimate,
                limit=limit,
            )
    return size, shared
