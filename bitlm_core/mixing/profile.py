"""What kind of data it is, and so which contexts serve it: found once, stored, never guessed again while reading.

text       lines, words and fields
records    rows of `period` bytes (0: no period, the place in the document counts)
bytes      8-bit samples `stride` bytes apart, rows of `period` bytes: images
words      16-bit samples, those of one channel `stride` bytes apart: sound, measurements
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bitlm_core.kernels.mixing_layout import RECENT

Kind = Literal["text", "records", "bytes", "words"]
KINDS: tuple[Kind, ...] = ("text", "records", "bytes", "words")
MAX_PERIOD = RECENT // 3
LOOKED_AT = 1 << 18
"""So many bytes at the beginning decide."""
_LEAST = 2048
_PRINTABLE = np.isin(np.arange(256), [9, 10, 13, *range(32, 127), *range(128, 256)])


class Profile(BaseModel):
    """The kind of data, and its distances in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "text"
    period: int = Field(default=0, ge=0, le=MAX_PERIOD, description="Bytes from row to row; 0: there are none.")
    stride: int = Field(default=1, ge=1, le=8, description="Bytes from sample to sample of one channel.")
    big_endian: bool = Field(default=False, description="Of 16-bit samples.")


def profile_of(data: NDArray[np.uint8], *, rows: bool = True) -> Profile:
    """The profile of data [N]; under 2 KiB there is too little to tell, and it counts as text or records by its bytes.

    rows: whether it is one stream; False for many short documents, in which nothing goes on from one to the next.
    """
    seen = data[:LOOKED_AT]
    if is_text(seen, lines=rows):
        return Profile(kind="text")
    if len(seen) < _LEAST or not rows:
        return Profile(kind="records")
    return _byte_samples(seen) or _words(seen) or Profile(kind="records", period=_period(seen))


def is_text(data: NDArray[np.uint8], *, lines: bool = True) -> bool:
    """Nearly all bytes are printable, with ASCII among them and, where `lines` are expected and it is not short, line ends."""
    if not len(data):
        return True
    printable, ascii_share = float(_PRINTABLE[data].mean()), float((data < 128).mean())
    has_lines = not lines or len(data) < _LEAST or float((data == 10).mean()) > 0.0005
    return printable > 0.97 and has_lines and ascii_share > 0.2


def _entropy(data: NDArray[np.uint8]) -> float:
    share = np.bincount(data, minlength=256) / len(data)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _shuffled(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(values)


def _words(data: NDArray[np.uint8]) -> Profile | None:
    """16-bit samples that follow each other smoothly, more so than the bytes alone tell."""
    if _entropy(data) < 5:
        return None
    pairs = data[: len(data) // 2 * 2].reshape(-1, 2).astype(np.int64)
    best: tuple[float, Profile] | None = None
    for big_endian in (False, True):
        high, low = (pairs[:, 0], pairs[:, 1]) if big_endian else (pairs[:, 1], pairs[:, 0])
        values = (high - 256 * (high > 127)) * 256 + low
        by_chance = float(np.abs(values - _shuffled(values)).mean())
        for channels in (1, 2):
            step = np.abs(values[channels:] - values[:-channels])
            rough = float(step.mean()) / max(by_chance, 1.0)
            if rough < 0.4 and step.mean() > 40 and (best is None or rough < 0.9 * best[0]):
                best = rough, Profile(kind="words", stride=2 * channels, big_endian=big_endian)
    return best[1] if best else None


def _byte_samples(data: NDArray[np.uint8]) -> Profile | None:
    """8-bit samples: neighbours are close, and there is a row length at which they are close again."""
    values = data.astype(np.int64)
    by_chance = float(np.abs(values - _shuffled(values)).mean())
    if _entropy(data) < 5.5:
        return None
    near = [float(np.abs(values[lag:] - values[:-lag]).mean()) for lag in (1, 2, 3, 4)]
    stride = int(np.argmin([rough * (1 + 0.05 * lag) for lag, rough in enumerate(near)])) + 1
    if near[stride - 1] > 0.35 * by_chance:
        return None
    lags = np.arange(17, min(MAX_PERIOD, len(data) // 4))
    rough = np.array([np.abs(values[lag:] - values[:-lag]).mean() for lag in lags])
    return Profile(kind="bytes", stride=stride, period=int(lags[int(np.argmin(rough))]))


def _period(data: NDArray[np.uint8]) -> int:
    """The lag at which bytes are most often equal, if it stands out; of two like ones the shorter."""
    lags = np.arange(4, min(MAX_PERIOD, len(data) // 4))
    equal = np.array([np.count_nonzero(data[lag:] == data[:-lag]) / (len(data) - lag) for lag in lags])
    best = int(np.argmax(equal - 0.00002 * lags))
    return int(lags[best]) if equal[best] - float(np.median(equal)) > 0.01 else 0
