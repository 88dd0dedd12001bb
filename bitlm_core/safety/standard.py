"""What an output is compared with: how often each byte follows each other one in the calibration data.

    cost(b after a) = −log₂ p(b|a),   p(b|a) = (n_ab + α p_b) / (n_a + α),   p_b = (n_b + ½) / (N + 128)

Its average over an output tells other data from the data, where the bytes alone are much the same. The counts are frozen when
they are taken: what a model learns later does not move them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRIOR = 4.0
"""α: how many pairs the bytes alone are worth."""

Pairs = NDArray[np.int64]


def pair_counts(data: NDArray[np.uint8]) -> Pairs:
    """[256, 256] how often the second byte follows the first."""
    pairs = data[:-1].astype(np.int64) * 256 + data[1:]
    counts: Pairs = np.bincount(pairs, minlength=1 << 16).astype(np.int64).reshape(256, 256)
    return counts


def byte_counts_of(pairs: Pairs) -> NDArray[np.float64]:
    """[256] the counts of the bytes, as far as they follow one."""
    counts: NDArray[np.float64] = pairs.sum(axis=0).astype(np.float64)
    return counts


def pair_costs(pairs: Pairs) -> NDArray[np.float64]:
    """[256, 256] bits that the second byte costs after the first."""
    counts = byte_counts_of(pairs)
    alone = (counts + 0.5) / (counts.sum() + 128)
    costs: NDArray[np.float64] = -np.log2((pairs + PRIOR * alone) / (pairs.sum(axis=1, keepdims=True) + PRIOR))
    return costs


def pair_excess(data: NDArray[np.uint8], pairs: Pairs) -> float:
    """The pair cost, less the entropy of the data's own bytes (bits): usually negative, for pairs say more than bytes alone.

    What makes an output simpler or wilder, such as another temperature, moves both; other data moves the first alone.
    """
    shares = np.bincount(data, minlength=256) / len(data)
    shares = shares[shares > 0]
    return pair_cost(data, pairs) + float((shares * np.log2(shares)).sum())


def pair_cost(data: NDArray[np.uint8], pairs: Pairs) -> float:
    """Bits per byte of data (at least two bytes) under these pairs."""
    return float(pair_costs(pairs)[data[:-1], data[1:]].mean())
