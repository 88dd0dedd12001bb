"""The longest earlier matches of what was read last: where they stand, and what byte they expect."""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_layout import (
    DOC,
    HEAD,
    MASK,
    MATCH,
    MATCH_MIN,
    NUM_MATCH,
    RECENT,
    Int,
    Memory,
    Scratch,
    kernel,
)


@kernel
def expect(m: Memory, s: Scratch) -> None:
    """`byte` = expected byte + 1 (0 = none) and confidence index in [0, MATCH_KINDS) of each match model."""
    for k in range(NUM_MATCH):
        at, length, misses = m.context[MATCH + 3 * k], m.context[MATCH + 3 * k + 1], m.context[MATCH + 3 * k + 2]
        s.byte[2 * k] = 0
        s.byte[2 * k + 1] = 0
        if at >= 0:
            s.byte[2 * k] = np.int64(m.history[at]) + 1
            size = min(length, 15) if length < 16 else min(16 + ((length - 16) >> 2), 31)
            s.byte[2 * k + 1] = size * 8 + (misses & 7)


@kernel
def _verified(m: Memory, at: Int) -> Int:
    """How many bytes before ring position `at` equal the last bytes read (at most 64)."""
    read = m.context[DOC]
    limit = min(read, 64)
    n = 0
    while n < limit:
        at = at - 1 if at > 0 else m.history.size - 1
        if m.history[at] != m.recent[(read - 1 - n) & (RECENT - 1)]:
            break
        n += 1
    return n


@kernel
def hashed(m: Memory, length: Int) -> Int:
    """Index into the match table of the last `length` bytes."""
    h: Int = 0
    for n in range(length):
        h = ((h + np.int64(m.recent[(m.context[DOC] - 1 - n) & (RECENT - 1)]) + 1) * 0x2F0B4C47) & MASK
        h ^= h >> 15
    return (h * np.int64(m.match_table.shape[1])) >> 32


@kernel
def advance_matches(m: Memory, byte: Int, learn: bool) -> None:
    """Follow, drop or look up each match; index the history that was just written. `recent` already ends in byte.

    No match may point at HEAD: the next byte is written there before it is compared, so it would equal itself for ever.
    """
    c = m.context
    for k in range(NUM_MATCH):
        p = MATCH + 3 * k
        if c[p] >= 0:
            hit = np.int64(m.history[c[p]]) == byte
            c[p + 1] = min(c[p + 1] + 1, 65535) if hit else 0
            c[p + 2] = ((c[p + 2] << 1) | (not hit)) & 255
            c[p] = c[p] + 1 if c[p] + 1 < m.history.size else 0
            if c[p + 2] & 15 == 15 or c[p] == c[HEAD]:
                c[p] = -1
                c[p + 1] = 0
        least = MATCH_MIN[k]
        if c[DOC] < least:
            continue
        h = hashed(m, least)
        if c[p + 1] < least and m.match_table[k, h] > 0:
            at = np.int64(m.match_table[k, h]) - 1
            length = _verified(m, at) if at != c[HEAD] else 0
            if length >= least and length > c[p + 1]:
                if at != c[p]:
                    c[p + 2] = 0
                c[p] = at
                c[p + 1] = length
        if learn:
            m.match_table[k, h] = c[HEAD] + 1
