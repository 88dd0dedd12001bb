"""What learning a byte changed in the large tables of a mixer, and how to have them as they were.

A mixer that codes each record from the same state learns within a record, and then is put back: that costs what the record
touched, not what the tables hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_layout import (
    DOC,
    LOW4,
    MATCH_MIN,
    NUM_CONTEXTS,
    NUM_MATCH,
    NUM_SELECT,
    SLOT,
    Int,
    Memory,
    Scratch,
    cached_kernel,
    kernel,
    sources_stamp,
)
from bitlm_core.kernels.mixing_matches import hashed

# what a byte leaves, from where on
SLOTS = 0
RUNS = 3 * NUM_CONTEXTS
SETS = RUNS + NUM_CONTEXTS
CURVES = SETS + 8 * NUM_SELECT
MATCHES = CURVES + 8 * 2
FOLLOWERS = MATCHES + NUM_MATCH
TRACE = FOLLOWERS + 2
TRACED = ("slots", "runs", "weights", "apm", "match_table", "followers")
"""The arrays that `put_back` restores."""


@kernel
def note(m: Memory, s: Scratch, row: NDArray[np.int64]) -> None:
    """Take down in row [TRACE] the places that a byte, just learned, has changed; -1 for none."""
    for i in range(NUM_CONTEXTS):
        for part in range(3):
            row[SLOTS + 3 * i + part] = s.slots[part, i]
        row[RUNS + i] = s.runs[2, i]
    for k in range(8):
        for i in range(NUM_SELECT):
            row[SETS + NUM_SELECT * k + i] = s.sets[k, i]
        for i in range(2):
            row[CURVES + 2 * k + i] = s.final[k, i + 1]
    for k in range(NUM_MATCH):
        row[MATCHES + k] = hashed(m, MATCH_MIN[k]) if m.context[DOC] >= MATCH_MIN[k] else np.int64(-1)
    before = m.context[LOW4] >> 8
    row[FOLLOWERS] = before & 255
    row[FOLLOWERS + 1] = 256 + (before & 0xFFFF)


@kernel
def _put_back_sets(m: Memory, kept: Memory, trace: NDArray[np.int64], touched: NDArray[np.uint8]) -> None:
    for n in range(trace.shape[0]):
        for i in range(SETS, CURVES):
            touched[trace[n, i]] = 1
    for i in range(touched.size):
        if touched[i]:
            for j in range(m.weights.shape[1]):
                m.weights[i, j] = kept.weights[i, j]


@kernel
def _put_back(m: Memory, kept: Memory, trace: NDArray[np.int64], touched: NDArray[np.uint8]) -> None:
    """Make the places in trace [N, TRACE] what they are in `kept` again. touched: [NUM_SETS] zeros."""
    _put_back_sets(m, kept, trace, touched)
    nothing = m.slots.size - SLOT
    for n in range(trace.shape[0]):
        row = trace[n]
        for i in range(SLOTS, RUNS):
            if row[i] != nothing:
                for k in range(SLOT):
                    m.slots[row[i] + k] = kept.slots[row[i] + k]
        for i in range(RUNS, SETS):
            m.runs[row[i]] = kept.runs[row[i]]
        for i in range(CURVES, MATCHES):
            curve, old = m.apm[i & 1, row[i]], kept.apm[i & 1, row[i]]
            for k in range(curve.size):
                curve[k] = old[k]
        for k in range(NUM_MATCH):
            at = row[MATCHES + k]
            if at >= 0:
                m.match_table[k, at] = kept.match_table[k, at]
        for i in range(FOLLOWERS, TRACE):
            m.followers[row[i]] = kept.followers[row[i]]


@lru_cache(maxsize=1)
def put_back_entry_point() -> Callable[[Memory, Memory, NDArray[np.int64], NDArray[np.uint8]], int]:
    """`_put_back`: compiled on first use, or taken from numba's cache on disk."""
    stamp = sources_stamp()

    @cached_kernel
    def put_back(m: Memory, kept: Memory, trace: NDArray[np.int64], touched: NDArray[np.uint8]) -> Int:
        _put_back(m, kept, trace, touched)
        return stamp

    return put_back
