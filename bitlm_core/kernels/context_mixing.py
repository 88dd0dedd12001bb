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

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_contexts import advance, hash32
from bitlm_core.kernels.mixing_inputs import choose_sets, gather, stretch
from bitlm_core.kernels.mixing_layout import (
    FROZEN,
    HEARD,
    LISTENS,
    LOW4,
    MATCH_KINDS,
    NUM_CONTEXTS,
    NUM_MATCH,
    NUM_SELECT,
    NUM_SUMS,
    SAID,
    SLOT,
    SUM_KINDS,
    TRUST,
    Int,
    Memory,
    Scratch,
    Tables,
    cached_kernel,
    kernel,
    sources_stamp,
)
from bitlm_core.kernels.mixing_samples import learn_sample
from bitlm_core.kernels.mixing_slots import begin, learn_node, learn_runs, locate, make_slots
from bitlm_core.kernels.mixing_sums import learn_sums


@kernel
def _adapted(packed: Int, bit: Int, limit: Int, reciprocal: NDArray[np.int32]) -> Int:
    """p += (bit - p) / (n + 1.6), n += 1 up to `limit`."""
    p, n = packed >> 9, packed & 511
    p += ((bit * 0x3FFFFF - p) * np.int64(reciprocal[n])) >> 16
    return (p << 9) | min(n + 1, limit)


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
    """Logit of bit k below `node`, in 1/1024 nat. An expert of which nothing was ever learned is not listened to."""
    has_expert = has_expert * s.byte[LISTENS]
    expert = expert * has_expert
    s.byte[SAID] = has_expert
    gather(m, t, s, node, k, expert)
    choose_sets(m, s, node, k, expert, has_expert)
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
    p = total >> 2
    if has_expert:
        trust = m.context[TRUST + k] * s.byte[FROZEN]
        p += ((np.int64(t.squash[expert + 3072]) - p) * trust) >> 8
    return 4 * stretch(t, p)


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
    m.context[HEARD] += s.byte[SAID]
    learn_sample(m, s, byte)
    learn_sums(m, byte)
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
        for i in range(NUM_SUMS):
            expected = s.sums[2 * i] + 255
            if expected > 255 and expected >> (8 - k) == node:
                at = i * SUM_KINDS + s.sums[2 * i + 1]
                right = 1 if ((expected >> (7 - k)) & 1) == bit else 0
                m.sum_maps[at] = _adapted(np.int64(m.sum_maps[at]), right, 511, t.reciprocal)
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
        begin(m, t, s, learn)
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
def _all_nodes(
    m: Memory, t: Tables, s: Scratch, expert: NDArray[np.int32], has_expert: Int, learn: bool, out: NDArray[np.int32]
) -> None:
    """Predict nodes 1..255 of the coming byte into out [256]. expert: stretches [256]."""
    begin(m, t, s, learn)
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
    """Compile on first use, or take from numba's cache on disk, see `sources_stamp`."""
    stamp = sources_stamp()

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
    def all_nodes(
        m: Memory, t: Tables, s: Scratch, expert: NDArray[np.int32], has_expert: Int, learn: bool, out: NDArray[np.int32]
    ) -> Int:
        _all_nodes(m, t, s, expert, has_expert, learn, out)
        return stamp

    return EntryPoints(read, all_nodes)
