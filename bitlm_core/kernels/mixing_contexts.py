"""What the mixer conditions on: hashes of recent bytes, words and lines, and the longest earlier matches.

To add a history context: raise `NUM_HISTORY` and give `hash_contexts` one more line.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_layout import (
    ABOVE,
    COLUMN,
    DOC,
    HEAD,
    HIGH4,
    LINE,
    LOW4,
    MASK,
    MATCH,
    MATCH_MIN,
    NUM_HISTORY,
    NUM_MATCH,
    NUM_RATE,
    RECENT,
    SLOT,
    TOTAL,
    WORD,
    WORD1,
    WORD2,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)


@kernel
def hash32(h: Int, v: Int) -> Int:
    """32 bits from two; odd multipliers below 2^31 keep each product below 2^63."""
    h = (((h + (v & MASK)) & MASK) * 0x6C8E944D + 0x1F3D5B79) & MASK
    h = ((h ^ (h >> 15)) * 0x5851F42D) & MASK
    return h ^ (h >> 16)


@kernel
def hash_contexts(m: Memory, s: Scratch) -> None:
    """Fill `hashes` and the first-nibble `lines`: what the coming byte is conditioned on."""
    c = m.context
    low, high, word = c[LOW4], c[HIGH4], c[WORD]
    c1, c2 = low & 255, low & 0xFFFF
    above = c[ABOVE]
    follow = np.int64(m.followers[c2])
    h = s.hashes
    h[0] = c1
    h[1] = c2
    h[2] = low & 0xFFFFFF
    h[3] = low
    h[4] = hash32(low, high & 255)
    h[5] = hash32(low, high & 0xFFFF)
    h[6] = hash32(low, high)
    h[7] = hash32(word, c1)
    h[8] = hash32(hash32(word, c1), c[WORD1])
    h[9] = hash32(hash32(word, c[WORD1]), c[WORD2])
    h[10] = low & 0xFFFF00
    h[11] = low & 0xFF00FF
    h[12] = hash32(s.byte[0] + 256 * s.byte[1], c1)
    h[13] = hash32(follow, c1)
    h[14] = hash32(above, c[COLUMN])
    h[15] = hash32(above, c2)
    h[16] = hash32(hash32(word, c1), c[WORD2])
    h[17] = hash32(low, high & 0xFFFFFF)
    for i in range(NUM_HISTORY):
        h[i] = hash32(h[i], i + 1)
    r = s.rate_hashes
    r[0] = 0x9E3779B9
    for i in range(1, NUM_RATE):
        r[i] = h[i - 1 if i < 5 else 7]


@kernel
def expect(m: Memory, s: Scratch) -> None:
    """`byte` = expected byte + 1 (0 = none) and confidence index in [0, 128) of each match model."""
    for k in range(NUM_MATCH):
        at, length, misses = m.context[MATCH + 3 * k], m.context[MATCH + 3 * k + 1], m.context[MATCH + 3 * k + 2]
        s.byte[2 * k] = 0
        s.byte[2 * k + 1] = 0
        if at >= 0:
            s.byte[2 * k] = np.int64(m.history[at]) + 1
            size = min(length, 15) if length < 16 else min(16 + ((length - 16) >> 2), 31)
            s.byte[2 * k + 1] = size * 4 + min(3, (misses & 1) + ((misses >> 1) & 1) + ((misses >> 2) & 1))


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
def _advance_matches(m: Memory, byte: Int, learn: bool) -> None:
    """Follow, drop or look up each match; index the history that was just written. `recent` already ends in byte.

    No match may point at HEAD: the next byte is written there before it is compared, so it would equal itself for ever.
    """
    c = m.context
    entries = np.int64(m.match_table.shape[1])
    for k in range(NUM_MATCH):
        p = MATCH + 3 * k
        if c[p] >= 0:
            hit = np.int64(m.history[c[p]]) == byte
            c[p + 1] = min(c[p + 1] + 1, 65535) if hit else 0
            c[p + 2] = ((c[p + 2] << 1) | (not hit)) & 255
            c[p] = c[p] + 1 if c[p] + 1 < m.history.size else 0
            if c[p + 2] & 7 == 7 or c[p] == c[HEAD]:
                c[p] = -1
                c[p + 1] = 0
        least = MATCH_MIN[k]
        if c[DOC] < least:
            continue
        h: Int = 0
        for n in range(least):
            h = ((h + np.int64(m.recent[(c[DOC] - 1 - n) & (RECENT - 1)]) + 1) * 0x2F0B4C47) & MASK
            h ^= h >> 15
        h = (h * entries) >> 32
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


@kernel
def advance(m: Memory, byte: Int, learn: bool) -> None:
    """Move the context past one byte; with `learn`, remember the byte."""
    c = m.context
    if learn:
        pair = c[LOW4] & 0xFFFF
        m.followers[pair] = ((np.int64(m.followers[pair]) << 8) | byte) & 0xFFFFFF
        m.history[c[HEAD]] = byte
        c[TOTAL] += 1
        c[HEAD] = c[HEAD] + 1 if c[HEAD] + 1 < m.history.size else 0
    m.recent[c[DOC] & (RECENT - 1)] = byte
    c[DOC] += 1
    c[HIGH4] = ((c[HIGH4] << 8) | (c[LOW4] >> 24)) & MASK
    c[LOW4] = ((c[LOW4] << 8) | byte) & MASK
    lower = byte | 32
    if (97 <= lower <= 122) or byte >= 128:
        c[WORD] = hash32(c[WORD], lower)
    elif c[WORD] != 0:
        c[WORD2] = c[WORD1]
        c[WORD1] = c[WORD]
        c[WORD] = 0
    if byte == 10:
        c[LINE] = min(c[COLUMN] + 1, RECENT)
        c[COLUMN] = 0
    else:
        c[COLUMN] = min(c[COLUMN] + 1, RECENT)
    above = c[COLUMN] < c[LINE] and c[LINE] < RECENT
    c[ABOVE] = np.int64(m.recent[(c[DOC] - c[LINE]) & (RECENT - 1)]) if above else 0
    _advance_matches(m, byte, learn)


@kernel
def find_slot(m: Memory, t: Tables, h: Int, make: bool) -> Int:
    """Start of the slot of hash h. If absent: the zero slot, or with `make` the weakest of four, emptied."""
    buckets = np.int64(m.slots.size // SLOT - 1) // 4
    base = ((h * buckets) >> 32) * 4 * SLOT
    check = (h & 255) | (((h & 255) == 0) * 1)
    weakest = base
    least: Int = 1 << 20
    for k in range(4):
        at = base + k * SLOT
        if m.slots[at] == check:
            return at
        weight = np.int64(t.priority[m.slots[at + 1]]) if m.slots[at] != 0 else -1
        if weight < least:
            weakest, least = at, weight
    if not make:
        return m.slots.size - SLOT
    m.slots[weakest] = check
    for k in range(1, SLOT):
        m.slots[weakest + k] = 0
    return weakest


@kernel
def locate(m: Memory, t: Tables, s: Scratch, nibble: Int, node: Int, make: bool) -> None:
    """Slots and lines of a nibble; node is 1 for the first, 16..31 for the second."""
    lines = np.int64(m.rates.size // SLOT)
    for i in range(NUM_HISTORY):
        s.slots[nibble, i] = find_slot(m, t, hash32(s.hashes[i], node), make)
    for i in range(NUM_RATE):
        s.lines[nibble, i] = ((hash32(s.rate_hashes[i], node) * lines) >> 32) * SLOT


@kernel
def begin(m: Memory, t: Tables, s: Scratch) -> None:
    expect(m, s)
    hash_contexts(m, s)
    locate(m, t, s, 0, 1, False)
    found = 0
    for i in range(1, 6):
        found += s.slots[0, i] != m.slots.size - SLOT
    s.byte[7] = found
