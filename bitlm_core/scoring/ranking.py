"""How well a statistic ranks what is odd above what is normal.

auroc               P(an odd one ranks above a normal one), a tie counting half
average_precision   Σ over thresholds of (recall − recall before) · precision; those of one value are one threshold
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError


def auroc(statistic: NDArray[np.float64], odd: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, from the ranks [R]. Raises ConfigError unless there are records of both kinds."""
    num_odd, num_normal = _both_kinds(odd)
    _, value, counts = np.unique(statistic, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[value]
    return float((ranks[odd].sum() - num_odd * (num_odd + 1) / 2) / (num_odd * num_normal))


def average_precision(statistic: NDArray[np.float64], odd: NDArray[np.bool_]) -> float:
    """Area under the precision-recall steps. Raises as `auroc`."""
    num_odd, _ = _both_kinds(odd)
    values, value = np.unique(-statistic, return_inverse=True)
    taken = np.cumsum(np.bincount(value, minlength=len(values)))
    right = np.cumsum(np.bincount(value, weights=odd, minlength=len(values)))
    return float((np.diff(right, prepend=0.0) * right / taken).sum() / num_odd)


def _both_kinds(odd: NDArray[np.bool_]) -> tuple[int, int]:
    num_odd = int(odd.sum())
    if num_odd in (0, len(odd)):
        raise ConfigError(
            f"{num_odd} of {len(odd)} records are labelled as odd: a ranking can only be judged on records of both kinds"
        )
    return num_odd, len(odd) - num_odd
