"""What the mixer mixes for one bit, and with which weights.

Units as in `context_mixing`: stretches in 1/256 nat, probabilities in 2^-22.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_layout import (
    AT_COUNT,
    AT_EXPERT,
    AT_MATCH,
    AT_SETS,
    FOUND,
    HALF,
    LOW4,
    MATCH_KINDS,
    NUM_CONTEXTS,
    NUM_MATCH,
    NUM_PREDICTED,
    PER_CONTEXT,
    PLACE,
    SLOT,
    SPREAD_OF,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)
from bitlm_core.kernels.mixing_samples import sample_inputs
from bitlm_core.kernels.mixing_slots import rate_at
from bitlm_core.kernels.mixing_sums import sum_inputs

ONCE = round((1 << 16) * (0.5 + 0.5 / 1.6))  # a rate after its first 1


@kernel
def stretch(t: Tables, p: Int) -> Int:
    """ln(p / (1 - p)) in 1/256 nat, with the fine table where the coarse one has few points."""
    if p < 65536:
        return np.int64(t.stretch_fine[p >> 4])
    if p >= (1 << 22) - 65536:
        return -np.int64(t.stretch_fine[((1 << 22) - 1 - p) >> 4])
    return np.int64(t.stretch[p >> 10])


@kernel
def gather(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, expert: Int) -> None:
    """The mixer's inputs for one node: per source its stretch, and its distance from 1/2 (bold where it is sure)."""
    x = s.inputs[k]
    nibble, nothing = k >> 2, m.slots.size - SLOT
    j = node if k < 4 else (1 << (k - 4)) | (node & ((1 << (k - 4)) - 1))
    for i in range(NUM_CONTEXTS):
        at, last = s.slots[nibble, i], s.runs[0, i]
        follows = last > 0 and last >> (8 - k) == node
        state, rate, count = np.int64(m.slots[at + j]), np.int64(1 << 15), np.int64(0)
        if at != nothing:
            rate, count = rate_at(m, at, j), np.int64(m.slots[at + AT_COUNT + j])
        elif follows:  # met once: no slot was made yet
            bit = (last >> (7 - k)) & 1
            state, rate, count = np.int64(t.next_state[0, bit]), np.int64(ONCE if bit else (1 << 16) - ONCE), np.int64(1)
        p = np.int64(m.state_maps[i, state]) >> 9
        s.states[k, i] = state
        o = PER_CONTEXT * i
        x[o] = t.stretch[p >> 10]
        x[o + 1] = (p - (1 << 21)) >> 12
        x[o + 2] = (np.int64(t.stretch[rate >> 4]) * np.int64(t.confidence[count])) >> 8
        x[o + 3] = 0
        if follows:
            p = np.int64(m.run_maps[i, min(s.runs[1, i], 15) * 8 + k]) >> 9
            came = np.int64(t.stretch[p >> 10])
            x[o + 3] = came if (last >> (7 - k)) & 1 else -came
    for i in range(NUM_MATCH):
        x[AT_MATCH + 2 * i] = 0
        x[AT_MATCH + 2 * i + 1] = 0
        expected = s.byte[2 * i] + 255
        if expected > 255 and expected >> (8 - k) == node:
            sign = 2 * ((expected >> (7 - k)) & 1) - 1
            p = np.int64(m.match_maps[i * MATCH_KINDS + s.byte[2 * i + 1]]) >> 9
            x[AT_MATCH + 2 * i] = sign * stretch(t, p)
            x[AT_MATCH + 2 * i + 1] = (sign * (p - (1 << 21))) >> 12
    sample_inputs(m, t, s, node, k)
    sum_inputs(m, t, s, node, k)
    x[AT_EXPERT] = expert
    x[AT_EXPERT + 1] = (np.int64(t.squash[expert + 3072]) - (1 << 21)) >> 12
    x[AT_EXPERT + 2] = 256


@kernel
def choose_sets(m: Memory, s: Scratch, node: Int, k: Int, expert: Int, has_expert: Int) -> None:
    """One weight set per selector: match, node, last byte, orders found, expert, byte before last or spread, place."""
    low = m.context[LOW4]
    expected = s.byte[0] + 255
    agrees = expected > 255 and expected >> (8 - k) == node
    u = s.sets[k]
    u[0] = (2 + (s.byte[1] >> 3)) * 8 + k if agrees else (s.byte[0] > 0) * 8 + k
    u[1] = AT_SETS[1] + node
    u[2] = AT_SETS[2] + (low & 255) * 8 + k
    u[3] = AT_SETS[3] + (s.byte[FOUND] * 2 + (s.byte[2] > 0)) * 8 + k
    u[4] = AT_SETS[4] + has_expert * (8 + 8 * min(abs(expert) >> 6, 30)) + k
    u[5] = AT_SETS[5] + ((low >> 8) & 255) * 8 + k
    if s.sample[NUM_PREDICTED] > 0:
        u[5] = AT_SETS[5] + (min(15, s.sample[SPREAD_OF]) * 2 + s.sample[HALF]) * 8 + k
    u[6] = AT_SETS[6] + s.byte[PLACE] * 8 + k
