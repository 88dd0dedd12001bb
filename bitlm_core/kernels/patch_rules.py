"""Where patches start: one automaton that reads a symbol and its entropy, and says whether the next symbol starts a patch.

A row of numbers holds the rules, another one the state; both are float64, which is exact for all of them. The full pass and the
reading one by one are the same `step`, so they cannot disagree; tests compare it with the rules as they are told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

ENTROPY, SPACE, FIXED = 0, 1, 2

# The rules. RATE: 0, or the bits by which θ gives way. SHARE: the share of symbols that are to start a patch.
SCHEME, MONOTONIC, SHORTEST, LONGEST, STRIDE, RATE, SHARE, THRESHOLD, START = range(9)
NUM_RULES = 9
# The state. OPEN: symbols in the open patch. WORD: whether it holds a letter. NEXT: whether the next symbol starts a patch.
OPEN, WORD, LAST, THETA, NEXT = range(5)
NUM_STATE = 5


@njit(cache=True, nogil=True)
def step(rules: NDArray[np.float64], state: NDArray[np.float64], symbol: Any, entropy: Any) -> Any:
    """Read one symbol, of which `entropy` is that of its successor; whether the next symbol starts a patch."""
    if symbol == rules[START]:
        state[OPEN], state[WORD], state[LAST], state[THETA], state[NEXT] = 1.0, 0.0, entropy, rules[THRESHOLD], 1.0
        return True
    if state[OPEN] == 0.0:  # nothing was read before, not even a start symbol
        state[THETA] = rules[THRESHOLD]
    if state[NEXT] != 0.0:
        state[OPEN], state[WORD] = 0.0, 0.0
    state[OPEN] += 1.0
    said = False
    if rules[SCHEME] == ENTROPY:
        said = entropy - (state[LAST] if rules[MONOTONIC] != 0.0 else 0.0) > state[THETA]
    elif rules[SCHEME] == FIXED:
        said = state[OPEN] >= rules[STRIDE]
    elif _in_word(symbol):
        state[WORD] = 1.0
    else:
        said = state[WORD] != 0.0
    starts = state[OPEN] >= rules[LONGEST] or (said and state[OPEN] >= rules[SHORTEST])
    if rules[RATE] > 0.0:
        # θ rests where patches start as often as they are to: a start lifts it by as much as 1/share − 1 others lower it.
        state[THETA] += rules[RATE] * ((1.0 if starts else 0.0) - rules[SHARE])
    state[LAST] = entropy
    state[NEXT] = 1.0 if starts else 0.0
    return starts


@njit(cache=True, nogil=True)
def mark_ends(
    rules: NDArray[np.float64],
    states: NDArray[np.float64],
    symbols: NDArray[np.int16],
    entropies: NDArray[np.float32],
    ends: NDArray[np.bool_],
) -> None:
    """Rows [B, T] → ends [B, T]; states [B, NUM_STATE] are taken up, and left after the last symbols."""
    for row in range(symbols.shape[0]):
        for place in range(symbols.shape[1]):
            ends[row, place] = step(rules, states[row], np.int64(symbols[row, place]), np.float64(entropies[row, place]))


@njit(cache=True, nogil=True)
def count_starts(rules: NDArray[np.float64], data: NDArray[np.uint8], entropies: NDArray[np.float32]) -> Any:
    """Into how many patches one document of bytes [n] is cut; `entropies` [n] are those after each byte."""
    state = np.zeros(NUM_STATE)
    state[NEXT] = 1.0
    found = 0
    for place in range(data.size):
        found += state[NEXT] != 0.0
        step(rules, state, np.int64(data[place]), np.float64(entropies[place]))
    return found


@njit(cache=True, nogil=True, inline="always")
def _in_word(symbol: Any) -> Any:
    """Letters, digits, and all that is not ASCII: a character of several bytes is never cut."""
    return symbol >= 128 or 48 <= symbol <= 57 or 65 <= symbol <= 90 or 97 <= symbol <= 122
