"""Where what was seen in a context is kept: slots of bit histories and rates, and runs of one byte.

A slot serves the 15 nodes of a nibble, a run the whole byte.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_contexts import hash32, hash_contexts
from bitlm_core.kernels.mixing_layout import (
    AT_COUNT,
    AT_RATE,
    FOUND,
    FROZEN,
    HEARD,
    LISTENS,
    NUM_CONTEXTS,
    SLOT,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)
from bitlm_core.kernels.mixing_matches import expect
from bitlm_core.kernels.mixing_samples import predict_sample
from bitlm_core.kernels.mixing_sums import expect_sums

RATE_LIMIT = 127  # the slowest a rate moves: 1 / 128.6


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
    for k in range(1, AT_RATE):
        m.slots[weakest + k] = 0
    for k in range(AT_RATE, SLOT, 2):
        m.slots[weakest + k] = 0
        m.slots[weakest + k + 1] = 128
    return weakest


@kernel
def locate(m: Memory, t: Tables, s: Scratch, nibble: Int, node: Int) -> None:
    """Slots of a nibble; node is 1 for the first, 16..31 for the second."""
    for i in range(NUM_CONTEXTS):
        s.slots[nibble, i] = m.slots.size - SLOT
        if s.runs[0, i] > 0:
            s.slots[nibble, i] = find_slot(m, t, hash32(s.hashes[i], node), False)


@kernel
def find_runs(m: Memory, s: Scratch) -> None:
    """`runs`: the byte that came last in each context, + 256 (0: never met), how often in a row, and where that stands.

    A bucket holds four; a context that was never met is going to replace the one met least.
    """
    buckets = np.int64(m.runs.size) >> 2
    for i in range(NUM_CONTEXTS):
        check = s.hashes[i] & 0x7FFF
        base = ((hash32(s.hashes[i], 7) * buckets) >> 32) << 2
        s.runs[0, i] = 0
        s.runs[1, i] = 0
        s.runs[2, i] = base
        least: Int = 16
        for k in range(4):
            run = np.int64(m.runs[base + k])
            met = (run >> 12) & 15
            if met > 0 and run >> 16 == check:
                s.runs[0, i] = (run & 255) | 256
                s.runs[1, i] = (run >> 8) & 15
                s.runs[2, i] = base + k
                break
            if met < least:
                s.runs[2, i] = base + k
                least = met


@kernel
def learn_runs(m: Memory, s: Scratch, byte: Int) -> None:
    """One more, or the first of another one."""
    for i in range(NUM_CONTEXTS):
        at = s.runs[2, i]
        met: Int = 0
        count: Int = 0
        if s.runs[0, i] > 0:
            met = (np.int64(m.runs[at]) >> 12) & 15
            count = s.runs[1, i] if s.runs[0, i] == (byte | 256) else 0
        met = met + 1 if met < 15 else met
        count = count + 1 if count < 15 else count
        m.runs[at] = ((s.hashes[i] & 0x7FFF) << 16) | (met << 12) | (count << 8) | byte


@kernel
def rate_at(m: Memory, at: Int, j: Int) -> Int:
    """The rate of node j of the slot at `at`: P(1), 1 = 2^16."""
    return np.int64(m.slots[at + AT_RATE + 2 * j]) | (np.int64(m.slots[at + AT_RATE + 2 * j + 1]) << 8)


@kernel
def learn_node(m: Memory, t: Tables, at: Int, j: Int, bit: Int) -> None:
    """Enter a bit at node j of the slot at `at`: history, and rate += (bit − rate) / (n + 1.6)."""
    m.slots[at + j] = t.next_state[m.slots[at + j], bit]
    n = np.int64(m.slots[at + AT_COUNT + j])
    rate = rate_at(m, at, j)
    rate += ((bit * 0xFFFF - rate) * np.int64(t.reciprocal[n]) + 0x8000) >> 16
    m.slots[at + AT_COUNT + j] = n + 1 if n < RATE_LIMIT else n
    m.slots[at + AT_RATE + 2 * j] = rate & 255
    m.slots[at + AT_RATE + 2 * j + 1] = rate >> 8


@kernel
def _replay(m: Memory, t: Tables, at: Int, nibble: Int) -> None:
    """Enter four bits into a slot."""
    for k in range(4):
        learn_node(m, t, at, (1 << k) | (nibble >> (4 - k)), (nibble >> (3 - k)) & 1)


@kernel
def make_slots(m: Memory, t: Tables, s: Scratch, byte: Int) -> None:
    """Slots for the contexts that are met for the second time, with what was met the first time; none for the others.

    Most contexts of many bytes are met once. A run is enough for those, and an eighth of the memory.
    """
    nothing = np.int64(m.slots.size - SLOT)
    for i in range(NUM_CONTEXTS):
        s.slots[2, i] = nothing
        if s.runs[0, i] == 0:
            s.slots[0, i] = s.slots[1, i] = nothing
            continue
        last = s.runs[0, i] & 255
        was_there = find_slot(m, t, hash32(s.hashes[i], 1), False) != nothing
        at = find_slot(m, t, hash32(s.hashes[i], 1), True)
        if not was_there:
            _replay(m, t, at, last >> 4)
            s.slots[2, i] = find_slot(m, t, hash32(s.hashes[i], 16 | (last >> 4)), True)
            _replay(m, t, s.slots[2, i], last & 15)
        s.slots[0, i] = at
        s.slots[1, i] = find_slot(m, t, hash32(s.hashes[i], 16 | (byte >> 4)), True)


@kernel
def begin(m: Memory, t: Tables, s: Scratch, learn: bool) -> None:
    """All that the predictions of the coming byte have in common. `learn`: whether this stream is learned from."""
    expect(m, s)
    hash_contexts(m, s)
    find_runs(m, s)
    locate(m, t, s, 0, 1)
    found = 0
    for i in range(1, 6):
        found += s.runs[0, i] > 0
    s.byte[FOUND] = found
    predict_sample(m, s)
    expect_sums(m, s)
    s.byte[FROZEN] = 0 if learn else 1
    s.byte[LISTENS] = 1 if learn or m.context[HEARD] > 0 else 0
