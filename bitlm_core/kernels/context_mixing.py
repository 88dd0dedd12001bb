"""Bit-level context mixing, in integers: predict the eight bits of a byte, then learn from them.

One byte is one transaction. Every prediction within it reads the state as it was before the byte began, and all
updates follow together. So the logits of any of the 255 nodes are a pure function of the state, and walking one
path of the tree (`read`) or all of it (`node_logits`) gives the same numbers.

Units: a *stretch* is a logit in 1/256 nat, an integer in [-3071, 3071]; a probability is an integer in [0, 2^22);
a weight has 20 fractional bits; outputs are logits in 1/1024 nat. Hashes and products stay below 2^63 and signed, so
that plain Python, any compiler and any vector width agree on every bit. Tables come in as arguments.

Legend: N bytes, C contexts, M match models, X mixer inputs, S weight sets used at a time.
"""

from __future__ import annotations

import inspect
import sys
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_contexts import advance, hash32
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
    NUM_SELECT,
    PER_CONTEXT,
    PLACE,
    SLOT,
    SPREAD_OF,
    Int,
    Memory,
    Scratch,
    Tables,
    cached_kernel,
    kernel,
)
from bitlm_core.kernels.mixing_matches import expect
from bitlm_core.kernels.mixing_samples import learn_sample, predict_sample, sample_inputs
from bitlm_core.kernels.mixing_slots import begin, learn_node, learn_runs, locate, make_slots, rate_at

ONCE = round((1 << 16) * (0.5 + 0.5 / 1.6))  # a rate after its first 1


@kernel
def _adapted(packed: Int, bit: Int, limit: Int, reciprocal: NDArray[np.int32]) -> Int:
    """p += (bit - p) / (n + 1.6), n += 1 up to `limit`."""
    p, n = packed >> 9, packed & 511
    p += ((bit * 0x3FFFFF - p) * np.int64(reciprocal[n])) >> 16
    return (p << 9) | min(n + 1, limit)


@kernel
def _stretch(t: Tables, p: Int) -> Int:
    """ln(p / (1 - p)) in 1/256 nat, with the fine table where the coarse one has few points."""
    if p < 65536:
        return np.int64(t.stretch_fine[p >> 4])
    if p >= (1 << 22) - 65536:
        return -np.int64(t.stretch_fine[((1 << 22) - 1 - p) >> 4])
    return np.int64(t.stretch[p >> 10])


@kernel
def _gather(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, expert: Int) -> None:
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
            x[AT_MATCH + 2 * i] = sign * _stretch(t, p)
            x[AT_MATCH + 2 * i + 1] = (sign * (p - (1 << 21))) >> 12
    sample_inputs(m, t, s, node, k)
    x[AT_EXPERT] = expert
    x[AT_EXPERT + 1] = (np.int64(t.squash[expert + 3072]) - (1 << 21)) >> 12
    x[AT_EXPERT + 2] = 256


@kernel
def _choose_sets(m: Memory, s: Scratch, node: Int, k: Int, expert: Int, has_expert: Int) -> None:
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


@kernel
def _dot(w: NDArray[np.int32], x: NDArray[np.int32]) -> Int:
    """w · x / 2^12, in 32 bits: |w >> 4| < 2^19.1 and |x| < 3100 keep a product below 2^31, and their sum by >> 8.

    The bound is x.size, not a constant: a constant is unrolled before it can be vectorised.
    """
    total = np.int32(0)
    for i in range(x.size):
        total += np.int32(np.int32(w[i] >> np.int32(4)) * x[i]) >> np.int32(8)
    return np.int64(total)


@kernel
def _train(w: NDArray[np.int32], x: NDArray[np.int32], step: Int) -> None:
    """w += x · step / 4096, within ±8. In 32 bits: |x| < 3100 and |step| < 2^19.1 keep the product below 2^31."""
    step32 = np.int32(step)
    for i in range(x.size):
        change = np.int32(np.int32(x[i] * step32) + np.int32(2048)) >> np.int32(12)
        w[i] = min(np.int32(1 << 23), max(np.int32(-(1 << 23)), np.int32(w[i] + np.int32(change))))


@kernel
def _predict(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, expert: Int, has_expert: Int) -> Int:
    """Logit of bit k below `node`, in 1/1024 nat."""
    _gather(m, t, s, node, k, expert)
    _choose_sets(m, s, node, k, expert, has_expert)
    total = np.int64(0)
    for i in range(NUM_SELECT):
        vote: Int = min(3071, max(-3071, _dot(m.weights[s.sets[k, i]], s.inputs[k]) >> 8))
        s.votes[k, i] = vote
        total += vote * np.int64(m.final_weights[node, i])
    mixed: Int = min(3071, max(-3071, total >> 20))
    s.final[k, 0] = mixed
    contexts = m.apm.shape[1]
    s.final[k, 1] = (hash32(m.context[LOW4] & 0xFF, node) * contexts) >> 32
    s.final[k, 2] = (hash32(m.context[LOW4] & 0xFFFF, node) * contexts) >> 32
    cell, part = (mixed + 3072) // 192, (mixed + 3072) % 192
    total = 2 * np.int64(t.squash[mixed + 3072])
    for i in range(2):
        curve = m.apm[i, s.final[k, i + 1]]
        p = (np.int64(curve[cell]) * (192 - part) + np.int64(curve[cell + 1]) * part) // 192
        total += p
    return 4 * _stretch(t, total >> 2)


@kernel
def _learn_mixing(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, bit: Int) -> None:
    """Descend the coding cost of bit k in every chosen weight set, in the final weights and in the APM curves."""
    x = s.inputs[k]
    mixed = s.final[k, 0]
    target = bit << 22
    error = target - np.int64(t.squash[mixed + 3072])
    for i in range(NUM_SELECT):
        vote, chosen = s.votes[k, i], s.sets[k, i]
        moved = np.int64(m.final_weights[node, i]) + ((vote * (error >> 4)) >> 15)
        m.final_weights[node, i] = min(1 << 26, max(-(1 << 26), moved))
        rate = np.int64(t.rate[m.uses[chosen]])
        m.uses[chosen] = min(m.uses[chosen] + 1, 1023)
        step = ((target - np.int64(t.squash[vote + 3072])) * rate) >> 14
        _train(m.weights[chosen], x, step)
    cell, part = (mixed + 3072) // 192, (mixed + 3072) % 192
    for i in range(2):
        curve = m.apm[i, s.final[k, i + 1]]
        near = cell + (part >= 96)
        curve[near] += ((bit * 0x3FFFFF) - np.int64(curve[near])) >> 6


@kernel
def _learn(m: Memory, t: Tables, s: Scratch, byte: Int) -> None:
    """All updates of one byte whose eight predictions are in `s`."""
    make_slots(m, t, s, byte)
    learn_runs(m, s, byte)
    learn_sample(m, s, byte)
    for k in range(8):
        node = (1 << k) | (byte >> (8 - k))
        bit = (byte >> (7 - k)) & 1
        j = node if k < 4 else (1 << (k - 4)) | (node & ((1 << (k - 4)) - 1))
        for i in range(NUM_CONTEXTS):
            state = s.states[k, i]
            if state > 0:
                m.state_maps[i, state] = _adapted(np.int64(m.state_maps[i, state]), bit, 255, t.reciprocal)
            if s.slots[k >> 2, i] != m.slots.size - SLOT:
                learn_node(m, t, s.slots[k >> 2, i], j, bit)
            last = s.runs[0, i]
            if last > 0 and last >> (8 - k) == node:
                at = min(s.runs[1, i], 15) * 8 + k
                right = 1 if ((last >> (7 - k)) & 1) == bit else 0
                m.run_maps[i, at] = _adapted(np.int64(m.run_maps[i, at]), right, 511, t.reciprocal)
        for i in range(NUM_MATCH):
            expected = s.byte[2 * i] + 255
            if expected > 255 and expected >> (8 - k) == node:
                at = i * MATCH_KINDS + s.byte[2 * i + 1]
                right = 1 if ((expected >> (7 - k)) & 1) == bit else 0
                m.match_maps[at] = _adapted(np.int64(m.match_maps[at]), right, 511, t.reciprocal)
        _learn_mixing(m, t, s, node, k, bit)
    advance(m, t, byte, True)


@kernel
def _read(
    m: Memory,
    t: Tables,
    s: Scratch,
    data: NDArray[np.uint8],
    expert: NDArray[np.int32],
    has_expert: Int,
    learn: bool,
    out: NDArray[np.int32],
) -> None:
    """Predict each byte of data [N], then learn or only advance. expert: stretches [N, 8]."""
    for i in range(data.size):
        byte = np.int64(data[i])
        begin(m, t, s)
        predict_sample(m, s)
        for k in range(8):
            node = (1 << k) | (byte >> (8 - k))
            if k == 4:
                locate(m, t, s, 1, node)
            out[i, k] = _predict(m, t, s, node, k, np.int64(expert[i, k]), has_expert)
        if learn:
            _learn(m, t, s, byte)
        else:
            advance(m, t, byte, False)


@kernel
def _all_nodes(m: Memory, t: Tables, s: Scratch, expert: NDArray[np.int32], has_expert: Int, out: NDArray[np.int32]) -> None:
    """Predict nodes 1..255 of the coming byte into out [256]. expert: stretches [256]."""
    begin(m, t, s)
    predict_sample(m, s)
    for node in range(1, 16):
        k = (node > 1) * 1 + (node > 3) + (node > 7)
        out[node] = _predict(m, t, s, node, k, np.int64(expert[node]), has_expert)
    for top in range(16, 32):
        locate(m, t, s, 1, top)
        for k in range(4):
            for low in range(1 << k):
                node = (top << k) | low
                out[node] = _predict(m, t, s, node, 4 + k, np.int64(expert[node]), has_expert)


class EntryPoints(NamedTuple):
    """The compiled kernels that others call; arguments as in `_read` and `_all_nodes`."""

    read: Callable[..., int]
    all_nodes: Callable[..., int]


@lru_cache(maxsize=1)
def entry_points() -> EntryPoints:
    """Compile on first use, or take from numba's cache on disk.

    That cache notices changes only in the file of the cached function, and these span several. The stamp is a closure
    variable, which is part of numba's cache key, so a change in any of them compiles anew.
    """
    sources = "".join(
        inspect.getsource(sys.modules[f.__module__]) for f in (entry_points, advance, kernel, expect, begin, learn_sample)
    )
    stamp = zlib.crc32(sources.encode())

    @cached_kernel
    def read(
        m: Memory,
        t: Tables,
        s: Scratch,
        data: NDArray[np.uint8],
        expert: NDArray[np.int32],
        has_expert: Int,
        learn: bool,
        out: NDArray[np.int32],
    ) -> Int:
        _read(m, t, s, data, expert, has_expert, learn, out)
        return stamp

    @cached_kernel
    def all_nodes(m: Memory, t: Tables, s: Scratch, expert: NDArray[np.int32], has_expert: Int, out: NDArray[np.int32]) -> Int:
        _all_nodes(m, t, s, expert, has_expert, out)
        return stamp

    return EntryPoints(read, all_nodes)
