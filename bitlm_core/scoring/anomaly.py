"""One number a record: how odd it is beside records that are taken for normal.

    excess_i   = bits_i − usual(i)        usual(i): what the i-th byte of the reference records costs, see `usual_bits`
    peak_w     = largest mean excess over w neighbouring bytes, for w = 1, 2 and the whole record
    statistic  = max over w of (peak_w − mean of the reference's peak_w) / their standard deviation

Many records hold fields that no model can foresee (clocks, checksums, counters). Their surprise is large in every record, so
it says nothing: `usual` takes it away, byte by byte. A changed byte then stands out in a short window, a record of another kind
in its mean; on which scale it is odd, the deviation tells.

The reference may be records that were held back from training, or the scored ones themselves: then a minority of odd ones
does no harm, for `usual` leaves out the dearest tenth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitlm_core.scoring.records import Costs, Floats

STATISTIC = "largest standardised excess surprise over 1, 2 and all bytes"
LENGTHS = (1, 2)
"""Bytes of the short windows; the whole record is the third scale."""
COLUMNS = 1024
"""Places in a record that have a usual cost of their own; later bytes share one."""

_KEPT = 0.9  # the share of a column's bytes, the cheapest, that tell what is usual
_PRIOR = 8.0  # so many bytes of average cost stand beside those of a column
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Reference:
    """What is normal. usual [COLUMNS + 1]: bits by place in the record. mean, spread [3]: of each scale's peak."""

    usual: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, normal: Costs) -> Reference:
        """From the costs of records; of none at all, nothing is usual."""
        usual = usual_bits(normal)
        unscaled = cls(usual, np.zeros(len(LENGTHS) + 1), np.ones(len(LENGTHS) + 1))
        if not len(normal.lengths):
            return unscaled
        peaks = unscaled.peaks(normal)
        return replace(unscaled, mean=peaks.mean(axis=0), spread=peaks.std(axis=0) + _LEAST_SPREAD)

    def peaks(self, costs: Costs) -> Floats:
        """[R, 3] the largest mean excess of each record, by scale."""
        excess = costs.less(self.usual[np.minimum(costs.columns, COLUMNS)])
        return np.stack([*(excess.peaks(size) for size in LENGTHS), excess.means()], axis=1)

    def statistic(self, costs: Costs) -> Floats:
        """[R] how many standard deviations each record stands above what is normal, on the scale where it does most."""
        return self.judged(self.peaks(costs))

    def moved(self, record: Costs, num_records: int, most: float = np.inf) -> Reference:
        """The same after one more record, where `num_records` say what is usual; `most` bits count of a difference."""
        usual = self.usual.copy()
        seen = min(len(record.bits), COLUMNS)
        usual[:seen] += np.clip(record.bits[:seen] - usual[:seen], -most, most) / num_records
        return replace(self, usual=usual)

    def judged(self, peaks: Floats) -> Floats:
        """The statistic of records whose `peaks` are known."""
        found: Floats = ((peaks - self.mean) / self.spread).max(axis=1)
        return found


def usual_bits(normal: Costs) -> Floats:
    """[COLUMNS + 1] mean bits of the cheapest nine tenths of the bytes at each place, drawn to the mean of all where few are.

    One number stands for all places from COLUMNS on.
    """
    columns = np.minimum(normal.columns, COLUMNS)
    order = np.lexsort((normal.bits, columns))
    columns, bits = columns[order], normal.bits[order]
    counts = np.bincount(columns, minlength=COLUMNS + 1)
    rank = np.arange(len(bits)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept_counts = _kept(counts)
    kept = rank < kept_counts[columns]
    sums = np.bincount(columns[kept], weights=bits[kept], minlength=COLUMNS + 1)
    average = _trimmed_mean(bits)
    means = sums / np.maximum(kept_counts, 1)
    found: Floats = (means * counts + average * _PRIOR) / (counts + _PRIOR)
    return found


def _kept(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(counts > 0, np.maximum(1, (_KEPT * counts).astype(np.int64)), 0)


def _trimmed_mean(bits: Floats) -> float:
    cheapest = np.sort(bits)[: int(_kept(np.array([len(bits)]))[0])]
    return float(cheapest.mean()) if len(cheapest) else 0.0
