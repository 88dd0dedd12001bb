"""What the mixer conditions on: hashes of recent bytes, words, lines, fields, rows and samples.

To add a history context: raise `NUM_CONTEXTS` and give one of the functions here one more line.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_layout import (
    BEGINNING,
    BEGINNING_BYTES,
    COLUMN,
    DOC,
    FIELD,
    FIELDS_ABOVE,
    FORMAT,
    HEAD,
    HIGH4,
    IN_FIELD,
    KIND,
    LEAD,
    LINE,
    LINE_START,
    LOW4,
    MASK,
    NUM_CONTEXTS,
    NUM_FIELDS,
    PERIOD,
    PLACE,
    RECENT,
    ROW,
    STRIDE,
    SUM,
    TEXT,
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
from bitlm_core.kernels.mixing_matches import advance_matches


@kernel
def hash32(h: Int, v: Int) -> Int:
    """32 bits from two; odd multipliers below 2^31 keep each product below 2^63."""
    h = (((h + (v & MASK)) & MASK) * 0x6C8E944D + 0x1F3D5B79) & MASK
    h = ((h ^ (h >> 15)) * 0x5851F42D) & MASK
    return h ^ (h >> 16)


@kernel
def ones_complement_sum(total: Int, word: Int) -> Int:
    """Of two words; 0 stands for both zeros."""
    total += word
    return total if total < 65535 else total - 65535


@kernel
def byte_before(m: Memory, distance: Int) -> Int:
    """The byte `distance` ≥ 1 back from the coming one; 0 where the document had not begun or it is forgotten."""
    read = m.context[DOC]
    if distance > read or distance > RECENT:
        return np.int64(0)
    return np.int64(m.recent[(read - distance) & (RECENT - 1)])


@kernel
def _byte_at(m: Memory, place: Int) -> Int:
    """The byte at a place counted from the document's begin."""
    return byte_before(m, m.context[DOC] - place) if place < m.context[DOC] else np.int64(0)


@kernel
def _hash_orders(m: Memory, s: Scratch) -> None:
    """0 … 13: the last bytes, some of them, and what followed them before; 28: nothing at all."""
    low, high = m.context[LOW4], m.context[HIGH4]
    c1, c2 = low & 255, low & 0xFFFF
    h = s.hashes
    h[0] = c1
    h[1] = c2
    h[2] = low & 0xFFFFFF
    h[3] = low
    h[4] = hash32(low, high & 255)
    h[5] = hash32(low, high & 0xFFFF)
    h[6] = hash32(low, high)
    h[7] = low & 0xFF00
    h[8] = low & 0xFFFF00
    h[9] = low & 0xFFFF0000
    h[10] = low & 0xFF00FF
    h[11] = hash32(s.byte[0] + 256 * s.byte[1], c1)
    h[12] = hash32(np.int64(m.followers[c1]) & 0xFFFF, c1)
    h[13] = np.int64(m.followers[256 + c2])
    h[28] = np.int64(0)


@kernel
def _hash_lines(m: Memory, s: Scratch) -> None:
    """14 … 27 for text: words, the line above, fields and their form."""
    c = m.context
    low, word = c[LOW4], c[WORD]
    c1, c2 = low & 255, low & 0xFFFF
    above = np.int64(0)
    if c[COLUMN] < c[LINE]:
        above = byte_before(m, c[LINE])
    field = min(c[FIELD], NUM_FIELDS - 1)
    in_field = min(c[IN_FIELD], 255)
    like, like_next = np.int64(0), np.int64(0)
    if field < c[FIELDS_ABOVE]:
        at = m.fields[1 - c[ROW], field] + c[IN_FIELD]
        if at < c[LINE_START]:
            like = _byte_at(m, at)
            like_next = _byte_at(m, at + 1) if at + 1 < c[LINE_START] else np.int64(0)
    pair = like | (like_next << 8)
    s.byte[PLACE] = min(field, 63) * 4 + min(in_field, 3)
    h = s.hashes
    h[14] = hash32(word, c1)
    h[15] = hash32(hash32(word, c1), c[WORD1])
    h[16] = hash32(hash32(word, c[WORD1]), c[WORD2])
    h[17] = hash32(hash32(word, c1), c[WORD2])
    h[18] = hash32(low, c[HIGH4] & 0xFFFFFF)
    h[19] = hash32(word, above + 256)
    h[20] = hash32(above, c1 + (min(c[COLUMN], 255) << 8))
    h[21] = hash32(pair, c1)
    h[22] = hash32(c[FORMAT] & MASK, (c[FORMAT] >> 32) + (field << 16))
    h[23] = hash32(pair, c[FORMAT] & 0xFFFFFF)
    h[24] = hash32(field + (in_field << 8), c2)
    h[25] = hash32(field + (c1 << 8), c[LEAD])
    h[26] = hash32(c[WORD1], c[FORMAT] & 0xFFFF)
    h[27] = hash32(word, c[LEAD])


@kernel
def _hash_rows(m: Memory, s: Scratch) -> None:
    """14 … 27 for rows: the row above, places in it, and neighbouring samples."""
    c = m.context
    low, high = c[LOW4], c[HIGH4]
    c1, c2 = low & 255, low & 0xFFFF
    period, stride = c[PERIOD], max(1, c[STRIDE])
    column = c[DOC] % period
    above, above2 = byte_before(m, period), byte_before(m, 2 * period)
    left, right = byte_before(m, period + 1), byte_before(m, period - 1)
    west, west2, north_west = byte_before(m, stride), byte_before(m, 2 * stride), byte_before(m, period + stride)
    s.byte[PLACE] = min(column, 255)
    flat = min(255, max(0, west + above - north_west))
    h = s.hashes
    h[14] = hash32(above | (above2 << 8), c1)
    h[15] = hash32(above | (left << 8) | (right << 16), c1)
    h[16] = hash32(above | (left << 8) | (right << 16) | (above2 << 24), c2)
    h[17] = hash32(above, column)
    h[18] = hash32(above, c1)
    h[19] = hash32(above | (above2 << 8), column)
    h[20] = hash32(flat, c[DOC] % stride)
    h[21] = hash32((west + above) >> 1, ((west - north_west) >> 3) + (((above - north_west) >> 4) << 8))
    h[22] = hash32(column, c1)
    h[23] = hash32((low >> 24) | ((high >> 16) & 0xFF00), c[DOC] & 3)
    h[24] = hash32(west | (west2 << 8), c[DOC] % stride) if stride > 1 else hash32(low & 0xFF00FF00, high & 0xFF00)
    h[25] = hash32(c[LEAD], column)
    h[26] = hash32(c[FORMAT] & MASK, 1)
    h[27] = hash32(c[WORD], c1)


@kernel
def _hash_places(m: Memory, s: Scratch) -> None:
    """14 … 27 for records without rows: the place in the document, its head, and bytes some distance back."""
    c = m.context
    low, high, lead = c[LOW4], c[HIGH4], c[LEAD]
    c1, c2 = low & 255, low & 0xFFFF
    place = min(c[DOC], RECENT)
    s.byte[PLACE] = min(place, 255)
    h = s.hashes
    h[14] = hash32(place, 0)
    h[15] = hash32(place, c1 + 256)
    h[16] = hash32(place, c2 + 65536)
    h[17] = hash32(hash32(place, low & 0xFF00), 3)
    h[18] = hash32(hash32(place, lead), 2)
    h[19] = hash32(hash32(place, lead), c1 + 256)
    h[20] = hash32(hash32(place, lead), c2 + 65536)
    h[21] = hash32((low >> 24) | ((high >> 16) & 0xFF00), c[DOC] & 3)
    h[22] = hash32(hash32(place, low >> 24), 5)
    h[23] = hash32(low & 0xFF00FF00, high & 0xFF00)
    h[24] = hash32(hash32(place, high & 0xFF00), 7)
    h[25] = hash32(hash32(place, high >> 24), 8)
    h[26] = hash32(hash32(place, byte_before(m, 12)), 9)
    h[27] = hash32(low >> 16, 10)


@kernel
def hash_contexts(m: Memory, s: Scratch) -> None:
    """Fill `hashes`: what the coming byte is conditioned on."""
    _hash_orders(m, s)
    if m.context[KIND] == TEXT:
        _hash_lines(m, s)
    elif m.context[PERIOD] == 0:
        _hash_places(m, s)
    else:
        _hash_rows(m, s)
    h = s.hashes
    for i in range(NUM_CONTEXTS):
        h[i] = hash32(h[i], i + 1)


@kernel
def _end_line(m: Memory) -> None:
    """The line that ends becomes the line above."""
    c = m.context
    c[LINE] = min(c[COLUMN] + 1, RECENT)
    c[FIELDS_ABOVE] = min(c[FIELD] + 1, NUM_FIELDS)
    c[ROW] = 1 - c[ROW]
    c[COLUMN] = 0
    c[FIELD] = 0
    c[IN_FIELD] = 0
    c[LEAD] = 0
    c[LINE_START] = c[DOC]
    m.fields[c[ROW], 0] = c[DOC]


@kernel
def _advance_line(m: Memory, t: Tables, byte: Int) -> None:
    """Words, columns, fields and forms; `recent` already ends in byte."""
    c = m.context
    lower = byte | 32
    if (97 <= lower <= 122) or byte >= 128:
        c[WORD] = hash32(c[WORD], lower)
    elif c[WORD] != 0:
        c[WORD2] = c[WORD1]
        c[WORD1] = c[WORD]
        c[WORD] = 0
    form = np.int64(t.byte_class[byte])
    c[FORMAT] = ((c[FORMAT] << 8) | (form & 255)) & 0xFFFFFFFFFFFF
    if c[COLUMN] < 4:
        c[LEAD] = ((c[LEAD] << 8) | byte) & MASK
    if byte == 10 and c[KIND] == TEXT:
        _end_line(m)
        return
    c[COLUMN] = min(c[COLUMN] + 1, RECENT)
    if form > 255:
        c[FIELD] = min(c[FIELD] + 1, RECENT)
        c[IN_FIELD] = 0
        if c[FIELD] < NUM_FIELDS:
            m.fields[c[ROW], c[FIELD]] = c[DOC]
    else:
        c[IN_FIELD] = min(c[IN_FIELD] + 1, RECENT)


@kernel
def advance(m: Memory, t: Tables, byte: Int, learn: bool) -> None:
    """Move the context past one byte; with `learn`, remember the byte."""
    c = m.context
    if learn:
        for at in (c[LOW4] & 255, 256 + (c[LOW4] & 0xFFFF)):
            m.followers[at] = ((np.int64(m.followers[at]) << 8) | byte) & 0xFFFFFF
        m.history[c[HEAD]] = byte
        c[TOTAL] += 1
        c[HEAD] = c[HEAD] + 1 if c[HEAD] + 1 < m.history.size else 0
    if c[DOC] & 1:
        c[SUM] = ones_complement_sum(c[SUM], ((c[LOW4] & 255) << 8) | byte)
    if c[DOC] < BEGINNING_BYTES:
        c[BEGINNING] = hash32(c[BEGINNING], byte)
    m.recent[c[DOC] & (RECENT - 1)] = byte
    c[DOC] += 1
    c[HIGH4] = ((c[HIGH4] << 8) | (c[LOW4] >> 24)) & MASK
    c[LOW4] = ((c[LOW4] << 8) | byte) & MASK
    _advance_line(m, t, byte)
    advance_matches(m, byte, learn)
