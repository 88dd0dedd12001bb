"""What the mixing kernels share: sizes, the arrays they work on, and the way they are compiled.

Legend: C history contexts, R rate contexts, M match models, X mixer inputs, S weight sets used at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int = Any  # compiled: int64; interpreted: int or np.int64, which mypy will not mix
F = TypeVar("F", bound=Callable[..., object])


# No reference counting: with two dozen arrays in hand it costs more than the work. Hence no kernel may allocate.
BARE: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
INNER: dict[str, Any] = {**BARE, "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile an inner function, inlined into the kernels that call it; Python cannot call it."""
    return cast(F, njit(**INNER)(function))


def cached_kernel(function: F) -> F:
    """Compile a function that Python calls: kept on disk, and run without the GIL."""
    return cast(F, njit(**BARE, cache=True, nogil=True)(function))


NUM_HISTORY, NUM_RATE, NUM_MATCH, NUM_SELECT = 18, 6, 2, 6
AT_RATE = 2 * NUM_HISTORY
AT_MATCH = AT_RATE + 2 * NUM_RATE
AT_EXPERT = AT_MATCH + 2 * NUM_MATCH
NUM_INPUTS = (AT_EXPERT + 3 + 31) // 32 * 32  # two for the expert, one constant; whole vector loops leave no rest
AT_SETS = (0, 136, 392, 2440, 2536, 2792)  # first weight set of each selector, see `_choose_sets`
NUM_SETS = 4840
APM_STEPS = 33  # knots of a final-stage curve over [-3072, 3072]
SLOT = 16  # bytes of a history slot (check + 15 states), entries of a rate line (15 used)
RECENT = 1024  # bytes of context kept even when nothing is learned
MATCH_MIN = (6, 20)
MASK = 0xFFFFFFFF
# indices into Memory.context
HEAD, TOTAL, DOC, LOW4, HIGH4, WORD, WORD1, WORD2, COLUMN, LINE, ABOVE = range(11)
MATCH = 11  # then, per match model: ring position (-1 = none), length, misses of the last eight bytes
CONTEXT_SIZE = MATCH + 3 * NUM_MATCH


class Tables(NamedTuple):
    """Constants of the arithmetic; see `bitlm_core.mixing.tables`."""

    next_state: NDArray[np.uint8]  # [256, 2]
    priority: NDArray[np.int32]  # [256], how much evidence a state holds
    stretch: NDArray[np.int32]  # [4096], by p >> 10
    stretch_fine: NDArray[np.int32]  # [4096], by p >> 4, for p < 2^16
    squash: NDArray[np.int32]  # [6145], by stretch + 3072
    reciprocal: NDArray[np.int32]  # [512], 65536 / (n + 1.6)
    confidence: NDArray[np.int32]  # [512], 0..256 by count
    rate: NDArray[np.int32]  # [1024], learning rate of a weight set by how often it was used, 1 = 2^-16


class Memory(NamedTuple):
    """All that a mixer has learned (first block) and where it stands (`recent`, `context`)."""

    slots: NDArray[np.uint8]  # [slots * 16]; the last slot stays zero and stands for "never seen"
    rates: NDArray[np.int32]  # [lines * 16], probability << 9 | count
    state_maps: NDArray[np.int32]  # [C, 256], probability << 9 | count
    match_maps: NDArray[np.int32]  # [M * 128], probability that the expected bit comes, << 9 | count
    weights: NDArray[np.int32]  # [NUM_SETS, X]
    uses: NDArray[np.int32]  # [NUM_SETS]
    final_weights: NDArray[np.int32]  # [256, S]
    apm: NDArray[np.int32]  # [2, contexts, 33]
    followers: NDArray[np.int32]  # [65536], the last three bytes that followed a pair of bytes
    history: NDArray[np.uint8]  # ring of bytes learned
    match_table: NDArray[np.int32]  # [M, entries], ring position + 1 after a hashed string; 0 = none
    recent: NDArray[np.uint8]  # [1024] ring of bytes read
    context: NDArray[np.int64]  # [16]


class Scratch(NamedTuple):
    """What the eight predictions of a byte leave for learning; row k is bit k."""

    hashes: NDArray[np.int64]  # [C]
    rate_hashes: NDArray[np.int64]  # [R]
    slots: NDArray[np.int64]  # [2, C], start of the slot of each nibble
    lines: NDArray[np.int64]  # [2, R]
    byte: NDArray[np.int64]  # [8]: expected byte and confidence index of each match model, orders found
    inputs: NDArray[np.int32]  # [8, X]
    states: NDArray[np.int64]  # [8, C]
    sets: NDArray[np.int64]  # [8, S]
    votes: NDArray[np.int64]  # [8, S]
    final: NDArray[np.int64]  # [8, 3]: mixed stretch, apm contexts


def new_scratch() -> Scratch:
    return Scratch(
        np.zeros(NUM_HISTORY, np.int64),
        np.zeros(NUM_RATE, np.int64),
        np.zeros((2, NUM_HISTORY), np.int64),
        np.zeros((2, NUM_RATE), np.int64),
        np.zeros(8, np.int64),
        np.zeros((8, NUM_INPUTS), np.int32),
        np.zeros((8, NUM_HISTORY), np.int64),
        np.zeros((8, NUM_SELECT), np.int64),
        np.zeros((8, NUM_SELECT), np.int64),
        np.zeros((8, 3), np.int64),
    )
