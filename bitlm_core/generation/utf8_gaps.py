"""Gaps filled so that all of it is valid UTF-8 (RFC 3629, section 4), wherever the gaps are.

Well-formed UTF-8 is a language of eight states, and what a byte does to a state depends on which of fourteen ranges it lies in.
So of all fillings that are valid one can be drawn exactly, from independent distributions of the single bytes conditioned
on validity: weights are summed backwards over the states, then bytes are drawn forwards (at temperature 0 the likeliest
filling, by maxima instead of sums). A filling is found wherever there is one; where there is none, that is known beforehand.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError

Array = NDArray[np.float64]

FIRST_OF_RANGE = np.array([0x00, 0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xE0, 0xE1, 0xED, 0xEE, 0xF0, 0xF1, 0xF4, 0xF5], np.int64)
RANGE_OF_BYTE = np.searchsorted(FIRST_OF_RANGE, np.arange(256), side="right") - 1
BETWEEN, ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, DEAD = range(9)
NEXT = np.full((8, 14), DEAD)
"""[8 states, 14 ranges] the state after a byte of a range. ONE, TWO, THREE: so many continuation bytes are missing."""
NEXT[BETWEEN, [0, 5, 6, 7, 8, 9, 10, 11, 12]] = BETWEEN, ONE, AFTER_E0, TWO, AFTER_ED, TWO, AFTER_F0, THREE, AFTER_F4
NEXT[ONE, 1:4], NEXT[TWO, 1:4], NEXT[THREE, 1:4] = BETWEEN, ONE, TWO
NEXT[AFTER_E0, 3], NEXT[AFTER_ED, 1:3], NEXT[AFTER_F0, 2:4], NEXT[AFTER_F4, 1] = ONE, ONE, TWO, TWO

SMALLEST = 1e-40
"""No byte that may stand somewhere has less weight, or at low temperatures the only valid filling could underflow to 0."""


class Utf8Gaps:
    """What whole bytes and gaps leave open; raises ConfigError where nothing that is valid UTF-8 fits them.

    data, known: as in `Template.whole`.
    """

    def __init__(self, data: bytes, known: bytes) -> None:
        ranges = [_ranges(byte & mask, mask) for byte, mask in zip(data, known, strict=True)]
        alive = [1 << BETWEEN]
        for allowed in reversed(ranges):
            alive.append(_before(allowed, alive[-1]))
        self._alive = alive[::-1]
        """Per position the set of states, a bit each, from which the rest can still become valid."""
        if not self._alive[0] & 1 << BETWEEN:
            raise self._refusal(data, known, ranges)

    def draw(
        self, before: bytes, hidden: NDArray[np.bool_], data: NDArray[np.int64], log_probs: Array, numbers: Array | None
    ) -> NDArray[np.int64]:
        """Bytes for the hidden places of a window, drawn together.

        before: all bytes up to the window; hidden, data [T]: the window, where data counts where it is not hidden;
        log_probs [hidden places, 256], contradictions −∞; numbers [hidden places] in [0, 1), None for the likeliest filling.
        """
        weights = np.where(np.isneginf(log_probs), 0.0, np.maximum(np.exp(log_probs), SMALLEST))
        by_range = np.zeros((len(hidden), len(FIRST_OF_RANGE)))
        by_range[np.arange(len(hidden)), RANGE_OF_BYTE[data]] = 1.0
        gather = np.add if numbers is not None else np.maximum
        by_range[hidden] = gather.reduceat(weights, FIRST_OF_RANGE, axis=1)
        ends = self._alive[len(before) + len(hidden)]
        onward = _sum_backwards(by_range, np.array([ends >> state & 1 for state in range(8)], float), largest=numbers is None)
        drawn: list[int] = []
        state = _state_after(before)
        for place in range(len(hidden)):
            byte = int(data[place])
            if hidden[place]:
                index = len(drawn)
                fits = weights[index] * onward[place + 1][NEXT[state]][RANGE_OF_BYTE]
                byte = int(fits.argmax()) if numbers is None else _chosen(fits, numbers[index])
                drawn.append(byte)
            state = NEXT[state, RANGE_OF_BYTE[byte]]
        return np.array(drawn, np.int64)

    def _refusal(self, data: bytes, known: bytes, ranges: list[int]) -> ConfigError:
        reached, place = 1 << BETWEEN, 0
        while place < len(ranges) and (after := _after(ranges[place], reached)):
            reached, place = after, place + 1
        where = f"0x{data[place]:02X} at byte {place} cannot" if place < len(data) else f"the end after {place} bytes cannot"
        return ConfigError(
            f"no filling makes this valid UTF-8: {where} follow what stands before it. Give whole characters around the gaps, "
            "make a gap longer, or use constraint='none'",
            offset=place,
        )


def _sum_backwards(by_range: Array, ends: Array, *, largest: bool) -> Array:
    """[T + 1, 9] per position and state the weight of all valid (or of the best) ways on from there, scaled; DEAD has 0."""
    onward = np.zeros((len(by_range) + 1, 9))
    onward[-1, :8] = ends
    for place in range(len(by_range) - 1, -1, -1):
        ways = onward[place + 1][NEXT] * by_range[place]
        found = ways.max(axis=1) if largest else ways.sum(axis=1)
        onward[place, :8] = found / found.max()
    return onward


def _chosen(weights: Array, number: float) -> int:
    """The byte at a share `number` of all weights; never one of weight 0."""
    total = np.cumsum(weights)
    return int(np.searchsorted(total, min(number * total[-1], np.nextafter(total[-1], 0)), side="right"))


def _state_after(data: bytes) -> int:
    """Where valid bytes end: at most three of them belong to a character that is not complete."""
    state = BETWEEN
    start = max(0, len(data) - 4)
    while start and data[start] & 0xC0 == 0x80:
        start -= 1
    for byte in data[start:]:
        state = int(NEXT[state, RANGE_OF_BYTE[byte]])
    return state


@lru_cache(maxsize=1 << 16)
def _ranges(value: int, mask: int) -> int:
    """The set of ranges, a bit each, in which bytes with these known bits lie."""
    fitting = np.flatnonzero(np.arange(256) & mask == value)
    return sum(1 << int(index) for index in np.unique(RANGE_OF_BYTE[fitting]))


@lru_cache(maxsize=1 << 16)
def _before(ranges: int, states: int) -> int:
    """The states from which a byte of these ranges leads into these states."""
    return sum(1 << state for state in range(8) if _after(ranges, 1 << state) & states)


@lru_cache(maxsize=1 << 16)
def _after(ranges: int, states: int) -> int:
    """The states into which a byte of these ranges leads from these states; none where every way is dead."""
    found = {int(NEXT[state, index]) for state in range(8) if states >> state & 1 for index in range(14) if ranges >> index & 1}
    return sum(1 << state for state in found - {DEAD})
