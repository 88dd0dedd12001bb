"""What the mixing kernels share: sizes, the arrays they work on, and the way they are compiled.

Legend: C contexts, M match models, P sample predictions, X mixer inputs, S weight sets used at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int = Any  # compiled: int64; interpreted: int or np.int64, which mypy will not mix
F = TypeVar("F", bound=Callable[..., object])


# No reference counting: with three dozen arrays in hand it costs more than the work. Hence no kernel may allocate.
BARE: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
INNER: dict[str, Any] = {**BARE, "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: F) -> F:
    """Compile an inner function, inlined into the kernels that call it; Python cannot call it."""
    return cast(F, njit(**INNER)(function))


def cached_kernel(function: F) -> F:
    """Compile a function that Python calls: kept on disk, and run without the GIL."""
    return cast(F, njit(**BARE, cache=True, nogil=True)(function))


@lru_cache(maxsize=1)
def sources_stamp() -> int:
    """Of the sources of all kernels, for a closure variable of a cached one.

    numba's cache on disk notices changes only in the file of the cached function, but closure variables are part of its key:
    so a change in any kernel compiles anew.
    """
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


EXPERT_ONE = 256  # experts enter in 1/256 nat
EXPERT_LIMIT = 2047  # ... and within ±8 nats: beyond that an expert says no more, and could cost without bound
NUM_CONTEXTS, NUM_MATCH, NUM_SAMPLE, NUM_SUMS, NUM_SELECT = 29, 2, 3, 2, 7
PER_CONTEXT = 4  # inputs: of the history twice, of the rate, of the run
AT_MATCH = PER_CONTEXT * NUM_CONTEXTS
AT_SAMPLE = AT_MATCH + 2 * NUM_MATCH
AT_EXPERT = AT_SAMPLE + NUM_SAMPLE
NUM_INPUTS = (AT_EXPERT + 3 + 15) // 16 * 16  # two for the expert, one constant; whole vector loops leave no rest
AT_SETS = (0, 272, 528, 2576, 2704, 2960, 5008)  # first weight set of each selector, see `_choose_sets`
NUM_SETS = 7056
APM_STEPS = 33  # knots of a final-stage curve over [-3072, 3072]
SLOT = 64  # bytes of a slot: check and 15 histories, 15 counts, 15 rates of two bytes: one cache line
AT_COUNT, AT_RATE = 16, 32  # in a slot
RECENT = 4096  # bytes of context kept even when nothing is learned
MATCH_MIN = (6, 20)
MATCH_KINDS = 256  # confidence indices of a match model
SUM_PLACES = 4096  # at which sums are remembered, per sum
SUM_KINDS = 32  # confidence indices of a sum: by count and half of the word
BEGINNING_BYTES = 18  # of a document: of an Ethernet frame, all up to the length of the packet in it
NUM_FIELDS = 64  # fields of a line that are told apart
RUN_KINDS = 16 * 8  # by count and bit
MASK = 0xFFFFFFFF
TAPS = 32  # earlier values that a sample is predicted from, at most
SCALES = 64  # spreads of the sample predictions that are kept apart
# kinds of data, see `bitlm_core.mixing.profile`
TEXT, RECORDS, BYTE_SAMPLES, WORD_SAMPLES = range(4)
# indices into Memory.context: what stays when a document ends …
HEAD, TOTAL, KIND, PERIOD, STRIDE, BIG_ENDIAN, HEARD = range(7)
TRUST = 7  # in the expert, per bit of a byte, see `bitlm_core.mixing.trust`
# … and what is of the bytes read
DOC, LOW4, HIGH4, WORD, WORD1, WORD2, COLUMN, LINE, LEAD, FORMAT, FIELD, IN_FIELD, ROW, FIELDS_ABOVE, LINE_START = range(15, 30)
SUM, BEGINNING = 30, 31  # of the document: the sum of its words, a hash of its first bytes
MATCH = 32  # then, per match model: ring position (-1 = none), length, misses of the last eight bytes
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
    byte_class: NDArray[np.int32]  # [256], letters, digits … alike; + 256 for what ends a field


class Memory(NamedTuple):
    """All that a mixer has learned (first block) and where it stands (`recent`, `fields`, `context`)."""

    slots: NDArray[np.uint8]  # [slots * SLOT]; the last slot stays zero and stands for "never seen"
    runs: NDArray[np.int32]  # [entries], check << 16 | times met << 12 | times in a row << 8 | the byte that came last
    state_maps: NDArray[np.int32]  # [C, 256], probability << 9 | count
    run_maps: NDArray[np.int32]  # [C, RUN_KINDS], probability that the byte comes again, << 9 | count
    match_maps: NDArray[np.int32]  # [M * MATCH_KINDS], probability that the expected bit comes, << 9 | count
    sum_maps: NDArray[np.int32]  # [NUM_SUMS * SUM_KINDS], likewise, of sums
    weights: NDArray[np.int32]  # [NUM_SETS, X]
    uses: NDArray[np.int32]  # [NUM_SETS]
    final_weights: NDArray[np.int32]  # [256, S]
    apm: NDArray[np.int32]  # [2, contexts, 33]
    followers: NDArray[np.int32]  # [256 + 65536], the last three bytes that followed a byte, a pair of bytes
    sums: NDArray[np.int32]  # [NUM_SUMS, SUM_PLACES], the sum at a place << 4 | how often it came; 0 = none
    taps: NDArray[np.int64]  # [2, P, TAPS], weights of earlier values, 1 = 2^-16
    spreads: NDArray[np.int64]  # [P, SCALES], mean error of a prediction, 1 = 2^-8
    history: NDArray[np.uint8]  # ring of bytes learned
    match_table: NDArray[np.int32]  # [M, entries], ring position + 1 after a hashed string; 0 = none
    recent: NDArray[np.uint8]  # [RECENT] ring of bytes read
    fields: NDArray[np.int64]  # [2, NUM_FIELDS], where the fields of this line and of the one above begin
    context: NDArray[np.int64]  # [CONTEXT_SIZE]


class Scratch(NamedTuple):
    """What the eight predictions of a byte leave for learning; row k is bit k."""

    hashes: NDArray[np.int64]  # [C]
    slots: NDArray[np.int64]  # [3, C], start of the slot of each nibble, and of one made for what was met before
    runs: NDArray[np.int64]  # [3, C], the byte that came last + 256 (0 = none), how often in a row, place of the run
    byte: NDArray[np.int64]  # [9]: see `PLACE`; first the expected byte and the confidence index of each match model
    inputs: NDArray[np.int32]  # [8, X]
    states: NDArray[np.int64]  # [8, C]
    sets: NDArray[np.int64]  # [8, S]
    votes: NDArray[np.int64]  # [8, S]
    final: NDArray[np.int64]  # [8, 3]: mixed stretch, apm contexts
    around: NDArray[np.int64]  # [TAPS], earlier values around the sample
    sums: NDArray[np.int64]  # [2 * NUM_SUMS], expected byte + 1 and confidence index of each sum
    sample: NDArray[np.int64]  # [2 + 2 * P]: how many predictions, half; then centre and spread index of each


PLACE, FROZEN, LISTENS, FOUND, SAID = range(4, 9)  # in Scratch.byte
NUM_PREDICTED, HALF, CENTRES, SPREAD_OF = 0, 1, 2, 2 + NUM_SAMPLE  # in Scratch.sample


def new_scratch() -> Scratch:
    return Scratch(
        np.zeros(NUM_CONTEXTS, np.int64),
        np.zeros((3, NUM_CONTEXTS), np.int64),
        np.zeros((3, NUM_CONTEXTS), np.int64),
        np.zeros(9, np.int64),
        np.zeros((8, NUM_INPUTS), np.int32),
        np.zeros((8, NUM_CONTEXTS), np.int64),
        np.zeros((8, NUM_SELECT), np.int64),
        np.zeros((8, NUM_SELECT), np.int64),
        np.zeros((8, 3), np.int64),
        np.zeros(TAPS, np.int64),
        np.zeros(2 * NUM_SUMS, np.int64),
        np.zeros(2 + 2 * NUM_SAMPLE, np.int64),
    )
