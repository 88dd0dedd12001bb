"""Constants of the mixer's integer arithmetic, and the arrays of a mixer that has learned nothing."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ModelStateError
from bitlm_core.kernels.mixing_layout import (
    APM_STEPS,
    AT_COUNT,
    AT_EXPERT,
    AT_MATCH,
    AT_SAMPLE,
    BIG_ENDIAN,
    COLUMN,
    CONTEXT_SIZE,
    DOC,
    FIELD,
    FIELDS_ABOVE,
    FORMAT,
    HEAD,
    HEARD,
    IN_FIELD,
    KIND,
    LINE,
    LINE_START,
    MASK,
    MATCH,
    MATCH_KINDS,
    NUM_CONTEXTS,
    NUM_FIELDS,
    NUM_INPUTS,
    NUM_MATCH,
    NUM_SAMPLE,
    NUM_SELECT,
    NUM_SETS,
    NUM_SUMS,
    PER_CONTEXT,
    PERIOD,
    RECENT,
    ROW,
    RUN_KINDS,
    SCALES,
    SLOT,
    STRIDE,
    SUM,
    SUM_KINDS,
    SUM_PLACES,
    TAPS,
    TOTAL,
    TRUST,
    WORD_SAMPLES,
    Memory,
    Tables,
)
from bitlm_core.kernels.mixing_slots import RATE_LIMIT
from bitlm_core.mixing.config import MixingConfig

ONE = 1 << 22  # a probability of 1
WEIGHT_ONE = 1 << 20
INT32_MAX = (1 << 31) - 1
FIRST_EXPERT_WEIGHT = 0.0  # nothing is known of it yet
FIRST_WEIGHTS = (0.16, 0.0, 0.05, 0.04)  # of the inputs of a context, before anything is learned
EXACT = 4  # histories up to this length are states of their own
# longest run kept for the commoner bit, by the count of the rarer one; chosen so that all states fit in a byte
COUNT_LIMIT = (41, 40, 12, 7, 5)


def _after(state: tuple[int, ...], bit: int) -> tuple[int, ...]:
    """The history after one more bit: (bits...) while short, else (zeros, ones, last bit, -1)."""
    if not state or state[-1] != -1:
        bits = (*state, bit)
        if len(bits) <= EXACT:
            return bits
        counts = [bits.count(0), bits.count(1)]
    else:
        counts = [state[0], state[1]]
        other = counts[1 - bit]
        if other > 2:  # news against old evidence: a long run loses weight fast, so that change is seen soon
            counts[1 - bit] = other.bit_length()
        counts[bit] += 1
    rarer = min(min(counts), len(COUNT_LIMIT) - 1)
    counts = [min(n, COUNT_LIMIT[rarer]) for n in counts]
    return (counts[0], counts[1], bit, -1)


@lru_cache(maxsize=1)
def bit_histories() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Transitions [256, 2] and counts (zeros, ones) [256, 2] of the bit-history states; 0 = nothing seen."""
    order: list[tuple[int, ...]] = [()]
    number: dict[tuple[int, ...], int] = {(): 0}
    following = np.zeros((256, 2), np.uint8)
    counts = np.zeros((256, 2), np.int64)
    for i, state in enumerate(order):  # grows while it runs: breadth first
        counts[i] = (state[0], state[1]) if state and state[-1] == -1 else (state.count(0), state.count(1))
        for bit in (0, 1):
            after = _after(state, bit)
            if after not in number:
                number[after] = len(order)
                order.append(after)
            following[i, bit] = number[after]
    return following, counts


def _logit(p: float) -> int:
    return round(256 * math.log(p / (1 - p)))


def _byte_classes() -> NDArray[np.int32]:
    """Digits 1, lower case 2, upper case 3, beyond ASCII 4, all else itself + 5; + 256 for what ends a field."""
    classes = [
        1 if 48 <= b < 58 else 2 if 97 <= b < 123 else 3 if 65 <= b < 91 else 4 if b >= 128 else b + 5 for b in range(256)
    ]
    return np.array([form + 256 * (byte in b' ,\t:;=|"[](){}/-_.') for byte, form in enumerate(classes)], np.int32)


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The constants; computed on first use."""
    following, counts = bit_histories()
    return Tables(
        next_state=following,
        priority=counts.sum(axis=1).astype(np.int32),
        stretch=np.array([_logit((i + 0.5) / 4096) for i in range(4096)], np.int32),
        stretch_fine=np.array([_logit((i + 0.5) / (1 << 18)) for i in range(4096)], np.int32),
        squash=np.array([round(ONE / (1 + math.exp(-i / 256))) for i in range(-3072, 3073)], np.int32),
        reciprocal=np.array([round(65536 / (n + 1.6)) for n in range(512)], np.int32),
        confidence=np.array([0] + [min(256, 96 + 24 * n) for n in range(1, 512)], np.int32),
        rate=np.array([round(65536 * (0.0015 + 0.03 / (1 + n / 80))) for n in range(1024)], np.int32),
        byte_class=_byte_classes(),
    )


def table_sizes(config: MixingConfig) -> dict[str, int]:
    """Entries of each table whose size follows from the configuration; the history slots take what is left."""
    total = config.memory_mib << 20
    history = min(config.history_bytes, total // 8)
    matches = total // 64 // 4  # int32, per match model
    runs = total // 8 // 16 * 4  # int32, in buckets of four
    apm = total // 32 // (4 * APM_STEPS * 2)  # contexts of each of two tables
    fixed = sum(array.nbytes for array in _fixed_arrays().values())
    taken = fixed + history + 4 * (NUM_MATCH * matches + runs) + 2 * 4 * APM_STEPS * apm
    slots = (total - taken) // SLOT * SLOT
    sizes = {"history": history, "matches": matches, "runs": runs, "apm": apm, "slots": slots}
    return {**sizes, "total": taken + slots}


def _packed(p: NDArray[np.float64]) -> NDArray[np.int32]:
    return (np.rint(p * ONE).astype(np.int64) << 9).astype(np.int32)


def _aligned(size: int) -> NDArray[np.uint8]:
    """Zero bytes that start on a cache line, so that a bucket of four slots is fetched at once."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def copied(memory: Memory) -> Memory:
    """The same contents in arrays of their own."""
    own = memory._asdict()
    arrays = {name: value.copy() for name, value in own.items() if name not in ("slots", "runs")}
    for name in ("slots", "runs"):
        arrays[name] = _aligned(own[name].nbytes).view(own[name].dtype)
        arrays[name][:] = own[name]
    return Memory(**arrays)


def _fixed_arrays() -> dict[str, NDArray[Any]]:
    """The arrays whose sizes no configuration changes, as they are before anything was read."""
    _, counts = bit_histories()
    total = counts.sum(axis=1)
    seen = np.clip((counts[:, 1] + 0.3) / (total + 0.6), 0.0005, 0.9995)
    weights = np.zeros((NUM_SETS, NUM_INPUTS), np.int32)
    for offset, first in enumerate(FIRST_WEIGHTS):
        weights[:, offset:AT_MATCH:PER_CONTEXT] = round(first * WEIGHT_ONE)
    weights[:, AT_MATCH:AT_SAMPLE:2] = round(0.25 * WEIGHT_ONE)
    weights[:, AT_SAMPLE:AT_EXPERT] = round(0.15 * WEIGHT_ONE)
    weights[:, AT_EXPERT] = round(FIRST_EXPERT_WEIGHT * WEIGHT_ONE)
    again = np.array([1 - 0.5 / (n + 1.5) for n in range(RUN_KINDS // 8)]).repeat(8)
    return {
        "state_maps": np.tile(_packed(seen), (NUM_CONTEXTS, 1)),
        "run_maps": np.tile(_packed(again), (NUM_CONTEXTS, 1)),
        "sum_maps": _packed(np.full(NUM_SUMS * SUM_KINDS, 0.75)),
        "sums": np.zeros((NUM_SUMS, SUM_PLACES), np.int32),
        "match_maps": _packed(np.full(NUM_MATCH * MATCH_KINDS, 0.75)),
        "weights": weights,
        "uses": np.zeros(NUM_SETS, np.int32),
        "final_weights": np.full((256, NUM_SELECT), WEIGHT_ONE // NUM_SELECT, np.int32),
        "followers": np.zeros(256 + 65536, np.int32),
        "taps": np.zeros((2, NUM_SAMPLE, TAPS), np.int64),
        "spreads": np.full((NUM_SAMPLE, SCALES), 4 * 256, np.int64),
        "recent": np.zeros(RECENT, np.uint8),
        "fields": np.zeros((2, NUM_FIELDS), np.int64),
        "context": np.eye(1, CONTEXT_SIZE, STRIDE, dtype=np.int64)[0],  # all zeros but a stride of 1
    }


def new_memory(config: MixingConfig) -> Memory:
    """The arrays of a mixer that has read nothing."""
    sizes = table_sizes(config)
    knots = np.array([ONE / (1 + math.exp(12 - 24 * i / (APM_STEPS - 1))) for i in range(APM_STEPS)])
    memory = Memory(
        slots=_aligned(sizes["slots"]),
        runs=_aligned(4 * sizes["runs"]).view(np.int32),
        apm=np.tile(np.rint(knots).astype(np.int32), (2, sizes["apm"], 1)),
        history=np.zeros(sizes["history"], np.uint8),
        match_table=np.zeros((NUM_MATCH, sizes["matches"]), np.int32),
        **_fixed_arrays(),
    )
    forget_context(memory)
    return memory


def forget_context(memory: Memory) -> None:
    """A new stream begins: no earlier bytes, words, lines or matches; the ring's head, the totals and the profile stay."""
    memory.recent[:] = 0
    memory.fields[:] = 0
    memory.context[DOC:] = 0
    memory.context[MATCH::3] = -1


def check_memory(memory: Memory) -> None:
    """Refuse values out of range: kernels index with them unchecked, so a damaged state could crash the process."""
    upper = {
        "runs": INT32_MAX,
        "state_maps": INT32_MAX,
        "run_maps": INT32_MAX,
        "match_maps": INT32_MAX,
        "sum_maps": INT32_MAX,
        "sums": (1 << 20) - 1,
        "uses": 1023,
        "apm": ONE - 1,
        "followers": 0xFFFFFF,
        "spreads": 1 << 26,
        "fields": 1 << 62,
        "match_table": memory.history.size,
    }
    for name, limit in upper.items():
        array = getattr(memory, name)
        if array.min() < 0 or array.max() > limit:
            raise ModelStateError(f"Mixer state '{name}' holds values outside 0..{limit}; it is damaged. Load another copy.")
    if memory.slots.reshape(-1, SLOT)[:, AT_COUNT : AT_COUNT + 16].max() > RATE_LIMIT:
        raise ModelStateError("Mixer state 'slots' counts further than it can; it is damaged. Load another copy.")
    if memory.slots[-SLOT:].any():
        raise ModelStateError("Mixer state 'slots' does not end in an empty slot; it is damaged. Load another copy.")
    low, high = np.zeros(CONTEXT_SIZE, np.int64), np.full(CONTEXT_SIZE, MASK, np.int64)
    low[MATCH::3] = -1
    low[STRIDE] = 1
    high[SUM] = 65534
    high[HEAD] = high[MATCH::3] = memory.history.size - 1
    high[[TOTAL, HEARD, DOC, LINE_START]] = 1 << 62
    high[[COLUMN, LINE, FIELD, IN_FIELD]] = RECENT
    high[FIELDS_ABOVE] = NUM_FIELDS
    high[FORMAT] = (1 << 48) - 1
    high[[KIND, PERIOD, STRIDE, BIG_ENDIAN, ROW]] = WORD_SAMPLES, RECENT // 3, 8, 1, 1
    high[TRUST : TRUST + 8] = 255
    high[MATCH + 2 :: 3] = 255
    if (memory.context < low).any() or (memory.context > high).any():
        raise ModelStateError("Mixer state 'context' holds positions outside their tables; it is damaged. Load another copy.")
