"""How uncertain the next byte is after the last three: counts of orders 0 … 3, blended, and the entropy of each context.

    p_k(x | c) = (n(c x) + d(c) · p_{k−1}(x | c')) / (n(c) + d(c))     c' is c without its first byte, p_{−1} uniform,
                                                                       d(c) how many different bytes followed c
    H(c) = −Σ p log2 p                                                 bits

I. H. Witten, T. C. Bell, "The zero-frequency problem" (IEEE IT-37, 1991), method C, as an interpolation.

Contexts of three bytes are kept in a table of rows by a hash, each with the context that it belongs to; where two meet, the
more frequent one stays, and of the other one H of its last two bytes is told. An unseen x only ever scales p_{k−1}, so of three
bytes Σ over all x follows from H_{k−1} and the x that were seen: work is proportional to the different 4-grams met. Memory: at
most 64 MiB of counts and 5 bytes a byte, for the length of the call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MIX = 2_654_435_761  # 2³² / φ, a prime: multiplicative hashing, the upper bits are the good ones
EMPTY = -1

Tables = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]
"""H of order 0 [1], 1 [256] and 2 [65536], the context of each row [rows] (or EMPTY), and H of order 3 [rows]; in bits."""


def entropy_tables(data: NDArray[np.uint8], rows: int) -> Tables:
    """Tables of bytes [n]; `rows` is a power of two."""
    pairs = np.zeros(1 << 24, np.uint32)
    singles = np.zeros((256, 256), np.int64)
    counts = np.zeros(256, np.int64)
    _count(data, counts, singles, pairs)
    fours = _four_grams(data)
    fours.sort()
    tables = empty_tables(rows)
    _fill(counts, singles, pairs, fours, tables, hash_shift(rows))
    return tables


def empty_tables(rows: int) -> Tables:
    """Tables of which every entropy is 8 bits: nothing is known."""
    eight = np.float32(8)
    return (
        np.full(1, eight),
        np.full(256, eight),
        np.full(1 << 16, eight),
        np.full(rows, EMPTY, np.int32),
        np.full(rows, eight),
    )


def hash_shift(rows: int) -> int:
    """By how much a 32-bit hash is shifted to become a row."""
    return 33 - rows.bit_length()


def _four_grams(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """[n − 3] each byte with the three before it, the byte lowest."""
    found = np.zeros(max(len(data) - 3, 0), np.uint32)
    for place in range(4):
        found <<= np.uint32(8)
        found |= data[place : place + len(found)]
    return found


@njit(cache=True, nogil=True)
def _count(data: NDArray[np.uint8], counts: NDArray[np.int64], singles: NDArray[np.int64], pairs: NDArray[np.uint32]) -> None:
    for place in range(data.size):
        byte = np.int64(data[place])
        counts[byte] += 1
        if place >= 1:
            singles[data[place - 1], byte] += 1
        if place >= 2:
            pairs[(np.int64(data[place - 2]) << 16) + (np.int64(data[place - 1]) << 8) + byte] += np.uint32(1)


@njit(cache=True, nogil=True)
def _fill(
    counts: NDArray[np.int64],
    singles: NDArray[np.int64],
    pairs: NDArray[np.uint32],
    fours: NDArray[np.uint32],
    tables: Tables,
    shift: int,
) -> None:
    none, one, two, checks, three = tables
    uniform, p0 = np.empty(256), np.empty(256)
    for byte in range(256):
        uniform[byte] = 1 / 256
    h0 = _blend(counts, uniform, p0)
    none[0] = h0
    p1, h1 = np.empty((256, 256)), np.empty(256)
    for last in range(256):
        h1[last] = _blend(singles[last], p0, p1[last])
        one[last] = h1[last]
    h2, total2, kinds2 = np.empty(1 << 16), np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    p2, row = np.empty(256), np.empty(256, np.int64)
    for context in range(1 << 16):
        last = context & 255
        h2[context] = h1[last]
        if singles[context >> 8, last] > 0:  # else it was never met
            for byte in range(256):
                row[byte] = pairs[(context << 8) + byte]
                total2[context] += row[byte]
                kinds2[context] += row[byte] > 0
            h2[context] = _blend(row, p1[last], p2)
        two[context] = h2[context]
    _fill_three(pairs, fours, p1, h2, total2, kinds2, checks, three, shift)


@njit(cache=True, nogil=True)
def _blend(seen: NDArray[np.int64], lower: NDArray[np.float64], blended: NDArray[np.float64]) -> float:
    """Counts [256] over the distribution of the order below → the distribution of this one; its entropy."""
    total, kinds = 0, 0
    for byte in range(256):
        total += seen[byte]
        kinds += seen[byte] > 0
    if total == 0:
        kinds = 1  # nothing followed: the order below as it is
    entropy = 0.0
    for byte in range(256):
        blended[byte] = (seen[byte] + kinds * lower[byte]) / (total + kinds)
        entropy -= blended[byte] * math.log2(blended[byte])
    return entropy


@njit(cache=True, nogil=True)
def _fill_three(
    pairs: NDArray[np.uint32],
    fours: NDArray[np.uint32],
    p1: NDArray[np.float64],
    h2: NDArray[np.float64],
    total2: NDArray[np.int64],
    kinds2: NDArray[np.int64],
    checks: NDArray[np.int32],
    three: NDArray[np.float32],
    shift: int,
) -> None:
    """Of sorted 4-grams: runs of one context, in them runs of one byte."""
    most = np.zeros(checks.size, np.int64)
    begin = 0
    while begin < fours.size:
        context = np.int64(fours[begin]) >> 8
        end, kinds = begin, 0
        while end < fours.size and np.int64(fours[end]) >> 8 == context:
            kinds += end == begin or fours[end] != fours[end - 1]
            end += 1
        row = row_of(context, shift)
        if end - begin > most[row]:
            most[row] = end - begin
            checks[row] = context
            three[row] = _entropy_of_run(fours[begin:end], kinds, context & 0xFFFF, pairs, p1, h2, total2, kinds2)
        begin = end


@njit(cache=True, nogil=True)
def _entropy_of_run(
    run: NDArray[np.uint32],
    kinds: Any,
    context: Any,
    pairs: NDArray[np.uint32],
    p1: NDArray[np.float64],
    h2: NDArray[np.float64],
    total2: NDArray[np.int64],
    kinds2: NDArray[np.int64],
) -> Any:
    """H of a context of three bytes, of which the last two are `context`, from the 4-grams that begin with it."""
    part = kinds / (run.size + kinds)  # of the order below
    seen_mass, seen_entropy, entropy = 0.0, 0.0, 0.0
    begin = 0
    while begin < run.size:
        end = begin
        while end < run.size and run[end] == run[begin]:
            end += 1
        byte = np.int64(run[begin]) & 255
        lower = (pairs[(context << 8) + byte] + kinds2[context] * p1[context & 255, byte]) / (total2[context] + kinds2[context])
        p = (end - begin) / (run.size + kinds) + part * lower
        entropy -= p * math.log2(p)
        seen_mass += lower
        seen_entropy -= lower * math.log2(lower)
        begin = end
    rest = max(h2[context] - seen_entropy, 0.0)  # −Σ q log q over the bytes that were not seen
    return entropy + part * (rest - max(1.0 - seen_mass, 0.0) * math.log2(part))


@njit(cache=True, nogil=True, inline="always")
def row_of(context: Any, shift: int) -> Any:
    """The row of a context of three bytes; of a tensor of them where it is interpreted."""
    return ((context * MIX) & 0xFFFFFFFF) >> shift


@njit(cache=True, nogil=True)
def next_entropy(symbol: Any, recent: NDArray[np.int64], resets: bool, tables: Tables, shift: int) -> Any:
    """H of the byte after `symbol`. recent: the length of its context before (0 … 2), and the context; updated.

    A symbol that is no byte leaves no context; with `resets`, a newline leaves none but itself. shift: see `hash_shift`.
    """
    none, one, two, checks, three = tables
    if symbol > 255:
        recent[0], recent[1] = 0, 0
        return none[0]
    context, length = ((recent[1] << 8) + symbol) & 0xFFFFFF, recent[0] + 1
    if resets and symbol == 10:
        context, length = symbol, 1
    recent[0], recent[1] = min(length, 2), context & 0xFFFF
    if length == 1:
        return one[symbol]
    if length > 2:
        row = row_of(context, shift)
        if checks[row] == context:
            return three[row]
    return two[context & 0xFFFF]


@njit(cache=True, nogil=True)
def byte_entropies(data: NDArray[np.uint8], resets: bool, tables: Tables, shift: int, found: NDArray[np.float32]) -> None:
    """Bytes [n] of one document → H [n] of the byte after each."""
    recent = np.zeros(2, np.int64)
    for place in range(data.size):
        found[place] = next_entropy(np.int64(data[place]), recent, resets, tables, shift)
