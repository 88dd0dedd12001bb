"""Where what was seen in a context is kept: slots of bit histories, lines of rates, and runs of one byte.

A slot serves the 15 nodes of a nibble, a run the whole byte.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_contexts import hash32, hash_contexts
from bitlm_core.kernels.mixing_layout import (
    FOUND,
    NUM_HISTORY,
    NUM_RATE,
    SLOT,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)
from bitlm_core.kernels.mixing_matches import expect


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
def _run_place(m: Memory, h: Int) -> Int:
    return (hash32(h, 7) * np.int64(m.runs.size)) >> 32


@kernel
def find_runs(m: Memory, s: Scratch) -> None:
    """`runs`: the byte that came last in each context, + 256, and how often in a row."""
    for i in range(NUM_HISTORY):
        run = np.int64(m.runs[_run_place(m, s.hashes[i])])
        s.runs[0, i] = 0
        s.runs[1, i] = 0
        if run >> 16 == s.hashes[i] & 0x7FFF:
            s.runs[0, i] = (run & 255) | 256 if run & 0xFF00 else 0
            s.runs[1, i] = (run >> 8) & 255


@kernel
def learn_runs(m: Memory, s: Scratch, byte: Int) -> None:
    """One more, or the first of another one."""
    for i in range(NUM_HISTORY):
        count = min(s.runs[1, i] + 1, 255) if s.runs[0, i] == (byte | 256) else 1
        m.runs[_run_place(m, s.hashes[i])] = ((s.hashes[i] & 0x7FFF) << 16) | (count << 8) | byte


@kernel
def begin(m: Memory, t: Tables, s: Scratch) -> None:
    """All that the predictions of the coming byte have in common."""
    expect(m, s)
    hash_contexts(m, s)
    locate(m, t, s, 0, 1, False)
    find_runs(m, s)
    found = 0
    for i in range(1, 6):
        found += s.slots[0, i] != m.slots.size - SLOT
    s.byte[FOUND] = found
