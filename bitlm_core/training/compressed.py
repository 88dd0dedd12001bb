"""Windows that travel compressed, and windows of which the network is shown the compressed bits themselves.

    raw         a window as it is
    compressed  a window that was run-length coded and decoded again before it is learned: the same bytes
    direct      a window of which the run-length stream is learned instead, as bytes

Each window's way is drawn on its own: direct with probability `direct_prob`, compressed with `compress_prob` · r(p), where
r(p) = (1 − cos(π p)) / 2 rises from 0 to 1 with the progress p of the run. The draws are a function of (seed, step).

Coded are the eight data bits of each byte, most significant first; parity says nothing. Streams of a step are laid end to
end, each a document of its own, and cut into as few rows as the window allows, all of one length: nothing is padded, and less
than a byte per row, at the very end, is left out. A ratio is bits of streams / bits of what they stand for. Every stream is
decoded and compared before it is used; where the codec fails, the window is shown raw, which is counted and told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.codec.runlength import compress_bits, decompress_bits
from bitlm_core.errors import CodecError
from bitlm_core.models.output import path_bits, path_nats
from bitlm_core.training.batches import Batch
from bitlm_core.training.config import TrainingConfig

_OWN_DRAWS = [0, 0, 0, 1]  # a counter that the draws of windows, under the same key, never reach


@dataclass(frozen=True)
class Shown:
    """The windows of a step that were shown in one way. loss: nats per byte shown; accuracy: share of its bits told right.

    ratio: bits of their run-length streams / bits of the windows; 1 of raw ones. None, all three, where there are no windows.
    """

    windows: int = 0
    num_bytes: int = 0
    loss: float | None = None
    accuracy: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Feed:
    """What a step was shown, and how each way went. fallbacks: of the raw windows, those that the codec failed on."""

    raw: Shown
    compressed: Shown
    direct: Shown
    fallbacks: int = 0
    warning: str | None = None


class Streams(NamedTuple):
    """Run-length streams of `windows` windows, and what they are shown as. ratio: see `Shown`."""

    windows: int = 0
    ratio: float | None = None
    rows: Batch | None = None


class Showing(NamedTuple):
    """A batch as it is shown. data: the windows that show their own bytes; compressed [rows of data]: those that travelled.

    direct: the others. failures: what the codec said, once for each window that it failed on.
    """

    data: Batch
    compressed: Tensor
    compressed_ratio: float | None = None
    direct: Streams = Streams()
    failures: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes that are shown."""
        return self.data.num_bytes + (self.direct.rows.num_bytes if self.direct.rows else 0)

    def to(self, device: torch.device) -> Showing:
        """The same on a device."""
        rows = self.direct.rows.to(device) if self.direct.rows else None
        return self._replace(data=self.data.to(device), direct=self.direct._replace(rows=rows))

    def parts(self, num_parts: int) -> list[tuple[Batch, bool]]:
        """What is computed at once, and whether that is data."""
        found = [(part, True) for part in self.data.parts(num_parts)] if len(self.data.data) else []
        return found + [(part, False) for part in (self.direct.rows.parts(num_parts) if self.direct.rows else [])]


def ramp(progress: float) -> float:
    """0 at the beginning of a run, 1 at its end, half a cosine between."""
    return (1 - math.cos(math.pi * progress)) / 2


def show(batch: Batch, config: TrainingConfig, *, seed: int, step: int, progress: float) -> Showing:
    """Draw the way of each window, and code what is to be coded."""
    size, length = batch.data.shape
    if not config.feeds:
        return Showing(batch, torch.zeros(size, dtype=torch.bool))
    windows = batch.data.clone()
    ways = np.random.Generator(np.random.Philox(key=[seed, step], counter=_OWN_DRAWS)).random(size)
    direct = ways < config.direct_prob
    compressed = ~direct & (ways < config.direct_prob + config.compress_prob * ramp(progress))
    streams: dict[int, NDArray[np.uint8]] = {}
    failures = []
    for index in np.flatnonzero(direct | compressed).tolist():
        window = batch.data[index].numpy().astype(np.uint8)
        try:
            streams[index], decoded = coded(window)
        except CodecError as error:
            failures.append(error.message)
            direct[index] = compressed[index] = False
        else:
            windows[index] = torch.from_numpy(decoded)
    data = torch.from_numpy(~direct)
    documents = None if batch.documents is None else batch.documents[data]
    return Showing(
        data=Batch(windows[data], documents),
        compressed=torch.from_numpy(compressed)[data],
        compressed_ratio=_ratio([streams[index] for index in np.flatnonzero(compressed).tolist()], length),
        direct=_laid_out([streams[index] for index in np.flatnonzero(direct).tolist()], length),
        failures=tuple(failures),
    )


def coded(window: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bytes → their run-length stream, and what comes out of it. Raises CodecError where that is something else.

    Without the checksum, which comparing stands for: its bytes are noise, of which nothing could be learned.
    """
    stream = compress_bits(np.unpackbits(window), check=False)
    decoded = np.packbits(decompress_bits(stream))
    if not np.array_equal(decoded, window):
        raise CodecError(f"the run-length stream of a window of {len(window)} bytes decodes to something else")
    return stream, decoded


def feed_of(showing: Showing, data_logits: Tensor, direct_logits: Tensor) -> Feed:
    """How each way went, from [rows, T, 8] path logits of what was shown."""
    data, travelled, direct = showing.data.data, showing.compressed, showing.direct
    size, failed = len(data) + direct.windows, len(showing.failures)
    warning = None
    if failed:
        warning = (
            f"run-length coding failed on {failed} of {size} windows, which were learned as they are: {showing.failures[0]}. "
            "Train with compress_prob=0 and direct_prob=0 to leave it out"
        )
    raw, compressed = (
        _shown(data_logits[rows], data[rows], windows=int(rows.sum()), ratio=ratio)
        for rows, ratio in ((~travelled, 1.0), (travelled, showing.compressed_ratio))
    )
    rows = direct.rows.data if direct.rows else data[:0]
    return Feed(raw, compressed, _shown(direct_logits, rows, windows=direct.windows, ratio=direct.ratio), failed, warning)


def _shown(logits: Tensor, data: Tensor, *, windows: int, ratio: float | None) -> Shown:
    if not windows:
        return Shown()
    right = (logits > 0) == (path_bits(data.to(logits.device)) == 1)
    return Shown(
        windows=windows,
        num_bytes=data.numel(),
        loss=float(path_nats(logits, data.to(logits.device)).mean()),
        accuracy=float(right.float().mean()),
        ratio=ratio,
    )


def _ratio(streams: list[NDArray[np.uint8]], length: int) -> float | None:
    return sum(map(len, streams)) / (length * len(streams)) if streams else None


def _laid_out(streams: list[NDArray[np.uint8]], length: int) -> Streams:
    """Streams of windows of `length` bytes, as rows of at most so many."""
    if not streams:
        return Streams()
    joined = np.concatenate(streams).astype(np.int64)
    numbers = np.repeat(np.arange(len(streams)), [len(stream) for stream in streams])
    rows = -(-len(joined) // length)
    shape = (rows, len(joined) // rows)
    data, documents = (torch.from_numpy(array[: shape[0] * shape[1]].reshape(shape)) for array in (joined, numbers))
    return Streams(len(streams), _ratio(streams, length), Batch(data, documents))
