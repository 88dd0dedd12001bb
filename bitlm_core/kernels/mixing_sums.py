"""Check sums of records: the word that makes the sum of all words so far what it was in others.

The Internet's check sum (RFC 1071) is a ones' complement sum of 16-bit words, in which a header adds up to the same number
whatever is in it. So it is not the word at a place that comes again but the sum up to and with it: that is remembered per
place, alone and with what the record begins with, and the word that gives it again is expected. Where there are no such
sums, they do not repeat, and nothing is expected.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_contexts import byte_before, hash32, ones_complement_sum
from bitlm_core.kernels.mixing_layout import (
    AT_SAMPLE,
    BEGINNING,
    DOC,
    KIND,
    NUM_SUMS,
    PERIOD,
    RECORDS,
    SUM,
    SUM_KINDS,
    SUM_PLACES,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)

OFTEN = 15  # counts of how often a sum came again end here


@kernel
def _has_sums(m: Memory) -> Int:
    return m.context[KIND] == RECORDS and m.context[PERIOD] == 0


@kernel
def _place(m: Memory, i: Int) -> Int:
    """Where the sum up to this word is remembered."""
    c = m.context
    word = c[DOC] >> 1
    if i == 0:
        return min(word, SUM_PLACES - 1)
    return (hash32(c[BEGINNING], word + (i << 16)) * SUM_PLACES) >> 32


@kernel
def expect_sums(m: Memory, s: Scratch) -> None:
    """`sums`: per sum the expected byte + 1 (0 = none) and its confidence index in [0, SUM_KINDS)."""
    for i in range(2 * NUM_SUMS):
        s.sums[i] = 0
    if not _has_sums(m):
        return
    second = m.context[DOC] & 1
    for i in range(NUM_SUMS):
        packed = np.int64(m.sums[i, _place(m, i)])
        if packed == 0:
            continue
        word = (packed >> 4) - m.context[SUM]
        word = word if word >= 0 else word + 65535
        if second and word >> 8 != byte_before(m, 1):
            continue
        s.sums[2 * i] = (word & 255 if second else word >> 8) + 1
        s.sums[2 * i + 1] = (packed & 15) * 2 + second


@kernel
def sum_inputs(m: Memory, t: Tables, s: Scratch, node: Int, k: Int) -> None:
    """The mixer's inputs from the sums, in the place of predicted samples, which records do not have."""
    for i in range(NUM_SUMS):
        expected = s.sums[2 * i] + 255
        if expected > 255 and expected >> (8 - k) == node:
            p = np.int64(m.sum_maps[i * SUM_KINDS + s.sums[2 * i + 1]]) >> 9
            came = np.int64(t.stretch[p >> 10])
            s.inputs[k, AT_SAMPLE + i] = came if (expected >> (7 - k)) & 1 else -came


@kernel
def learn_sums(m: Memory, byte: Int) -> None:
    """Remember the sums up to the word that ends with this byte; those that came often are not given up at once."""
    if m.context[DOC] & 1 == 0 or not _has_sums(m):
        return
    total = ones_complement_sum(m.context[SUM], (byte_before(m, 1) << 8) | byte)
    for i in range(NUM_SUMS):
        at = _place(m, i)
        packed = np.int64(m.sums[i, at])
        count = packed & 15
        if packed >> 4 == total:
            m.sums[i, at] = (total << 4) | min(count + 1, OFTEN)
        elif count < 2:
            m.sums[i, at] = (total << 4) | 1
        else:
            m.sums[i, at] = (packed & ~15) | (count >> 1)
