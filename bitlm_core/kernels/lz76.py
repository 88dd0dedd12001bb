"""How many phrases Lempel and Ziv's 1976 parsing cuts a bit sequence into.

    s = s_1 · s_2 · … · s_c      each phrase is the shortest word, read on from the end of the one before, that has
                                 not occurred in everything read except its own last bit (overlap allowed);
                                 a word cut off by the end of s counts as a phrase
    0001101001000101 → 0 · 001 · 10 · 100 · 1000 · 101      c = 6

A. Lempel, J. Ziv, "On the complexity of finite sequences" (IEEE IT-22, 1976); F. Kaspar, H. G. Schuster, "Easily
calculable measure for the complexity of spatiotemporal patterns" (Phys. Rev. A 36, 1987), which is the twin.

In: `uint8[n]` of 0 and 1, n ≤ 2²². Out: the count, exact. Time O(n), memory 32 bytes a bit for the length of the call.

The phrase is followed through the suffix automaton of the bits read so far (A. Blumer et al., 1985), which is
extended after each test. Does not normalise: see `telemetry.metrics.lz_complexity`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bitlm_core.errors import CodecError, ResourceLimitError

MAX_BITS = 1 << 22

# One row of four is one state: a step touches one cache line instead of three arrays.
# Row 0 is the void, a state before the root from which every bit leads to the root: walks along the links end there
# without a test of their own, and as no transition leads *to* it, 0 also means "no transition".
_ROOT = 1
_LINK = 2
_LENGTH = 3  # of the longest word of the state, plus one: the void has 0, the root 1
_COLUMNS = 4


def lz76_phrases(bits: NDArray[np.uint8]) -> int:
    """c(n), the LZ76 phrase count of `bits` (`uint8[n]`, values 0 and 1); 0 for an empty sequence.

    Raises `CodecError` (`dtype`, `shape`) for another kind of array, (`index`, `value`) for a value above 1, which
    would index outside the table, and `ResourceLimitError` (`estimate`, `limit`, in bits) above 2²² bits.
    """
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise CodecError(
            f"lz76_phrases takes bits as uint8[n], got {bits.dtype}{list(bits.shape)}; convert them with as_bits",
            dtype=str(bits.dtype),
            shape=bits.shape,
        )
    if bits.size > MAX_BITS:
        raise ResourceLimitError(
            f"{bits.size} bits are above the limit of {MAX_BITS} for one LZ76 parsing; measure a part of them",
            estimate=bits.size,
            limit=MAX_BITS,
        )
    if bits.size == 0:
        return 0
    if bits.max() > 1:
        index = int(np.argmax(bits > 1))
        value = int(bits[index])
        raise CodecError(f"bit {index} is {value}, not 0 or 1; pass bits, not bytes", index=index, value=value)
    return int(_count_phrases(np.ascontiguousarray(bits)))


def lz76_phrases_reference(bits: NDArray[np.uint8]) -> int:
    """The same count by Kaspar and Schuster's search: each phrase tries every earlier origin. At least O(n²)."""
    symbols = bits.tolist()
    n = len(symbols)
    phrases = start = 0
    while start < n:
        longest = 0
        for origin in range(start):
            length = 0
            while start + length < n and symbols[origin + length] == symbols[start + length]:
                length += 1
            longest = max(longest, length)
        start += longest + 1
        phrases += 1
    return phrases


@njit(cache=True, nogil=True)
def _count_phrases(bits: NDArray[np.uint8]) -> int:
    """Walk `bits` once; a phrase ends where the automaton of everything before this bit has no way on."""
    states = np.zeros((2 * bits.size + 2, _COLUMNS), dtype=np.uint32)  # n bits make at most 2n states; and the void
    states[0, 0] = states[0, 1] = _ROOT
    states[_ROOT, _LENGTH] = 1
    whole = here = np.uint32(_ROOT)
    used = np.uint32(_ROOT + 1)
    phrases = 0
    for bit in bits:
        # `_extend` may split the state `here` and leave the phrase in the copy. Staying is still exact: the split
        # only sets apart the words that also end at this bit, and that end has no next bit yet, so both halves have
        # the same ways on until the next test, and after it the same argument holds again.
        here = states[here, bit]
        if here == 0:
            phrases += 1
            here = np.uint32(_ROOT)
        whole, used = _extend(states, whole, used, bit)
    return phrases + int(here != _ROOT)


@njit(cache=True, nogil=True)
def _extend(states: NDArray[np.uint32], whole: np.uint32, used: np.uint32, bit: np.uint8) -> tuple[np.uint32, np.uint32]:
    """Append `bit` to the text whose state is `whole`: (the state of the longer text, the number of rows in use)."""
    added = used
    states[added, _LENGTH] = states[whole, _LENGTH] + 1
    suffix = whole
    while states[suffix, bit] == 0:
        states[suffix, bit] = added
        suffix = states[suffix, _LINK]
    target = states[suffix, bit]
    if states[target, _LENGTH] == states[suffix, _LENGTH] + 1:
        states[added, _LINK] = target
        return added, np.uint32(added + 1)
    split = np.uint32(added + 1)
    for column in range(_LENGTH):
        states[split, column] = states[target, column]
    states[split, _LENGTH] = states[suffix, _LENGTH] + 1
    while states[suffix, bit] == target:
        states[suffix, bit] = split
        suffix = states[suffix, _LINK]
    states[target, _LINK] = split
    states[added, _LINK] = split
    return added, np.uint32(split + 1)
