"""Records under a model: what their bytes cost, in one row of numbers, and what is read off them.

R records, M bytes of all records together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_BYTES = 4
"""Of the windowed surprise that is told of each record."""


@dataclass(frozen=True)
class Costs:
    """bits [M]: the bytes of all records, one after the other. lengths [R]: how many each has, possibly none."""

    bits: Floats
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, records: Iterable[NDArray[np.float32]]) -> Costs:
        """The records' own rows, joined."""
        rows = [np.asarray(row, np.float64) for row in records]
        return cls(np.concatenate([np.zeros(0), *rows]), np.array([len(row) for row in rows], np.int64))

    @classmethod
    def within(cls, surprise: NDArray[np.float32], spans: NDArray[np.int64]) -> Costs:
        """Of records that lie in a larger row, in ascending order without overlap."""
        lengths = spans[:, 1] - spans[:, 0]
        places = np.repeat(spans[:, 0] - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        return cls(surprise[places].astype(np.float64), lengths)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """[M] the place of each byte in its record."""
        return np.arange(len(self.bits)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)

    def less(self, usual: Floats) -> Costs:
        """What is left of each byte's bits above what is usual [M]."""
        return Costs(self.bits - usual, self.lengths)

    def means(self) -> Floats:
        """[R] bits per byte of each record; 0 of an empty one."""
        return self._reduced(np.add, self.bits) / np.maximum(self.lengths, 1)

    def peaks(self, size: int) -> Floats:
        """[R] the largest mean over `size` neighbouring bytes of a record, over all of a shorter one."""
        sums = np.concatenate([np.zeros(1), np.cumsum(self.bits)])
        starts = np.arange(max(0, len(self.bits) - size + 1))
        windows = np.full(len(self.bits), -np.inf)
        left = np.repeat(self.lengths, self.lengths) - self.columns
        whole = np.where(left[: len(starts)] >= size, sums[size:][: len(starts)] - sums[starts], -np.inf)
        windows[: len(starts)] = whole / size
        return np.where(self.lengths < size, self.means(), self._reduced(np.maximum, windows))

    def _reduced(self, how: np.ufunc, values: Floats) -> Floats:
        """One number a record; 0 for an empty one, which `reduceat` cannot do."""
        found = np.zeros(len(self.lengths))
        some = self.lengths > 0
        if some.any():
            found[some] = how.reduceat(values, (np.cumsum(self.lengths) - self.lengths)[some])
        return found
