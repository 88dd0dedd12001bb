"""A byte-latent network read byte by byte, compiled: the twin of `models.patch_lm` and of `layers.patches`.

Every byte goes through the small stacks; the large one is computed only for those that end a patch, of several streams or of
several patches together. Each number is computed as it would be alone, so the results are the same bits.

W width of the streams over bytes, M width of the patches, s slots that a patch shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.byte_entropy import next_entropy
from bitlm_core.kernels.decode import LEAST_SCORE, compute, embed, keep_hidden, place
from bitlm_core.kernels.decode_arithmetic import ONE, ZERO, dot, exponential, f32, most, multiply, normalise, total
from bitlm_core.kernels.decode_layout import (
    GATE,
    KEY_VALUE,
    LAYERS,
    OPENED,
    POOLED,
    QUERY,
    READ_OUT,
    READ_QUERY,
    READS,
    RECALLED,
    RESETS,
    SHIFT,
    SHOWN,
    SPAN,
    STREAM,
    SUM_UP,
    VALUE_HEADS,
    VALUE_WIDTH,
    WIDTH,
    Between,
    Network,
    Opened,
    Patches,
    Room,
    Streams,
    part,
    woven,
)
from bitlm_core.kernels.mixing_layout import Int, kernel
from bitlm_core.kernels.patch_rules import step
from bitlm_core.kernels.vectors import LANES

ONE_ROW = np.int64(1)  # a plain number would be compiled by itself, with all that it is passed to


@kernel
def at(net: Network) -> Int:
    """The first matrix that is of no layer."""
    return 4 * net.sizes[LAYERS]


@part
def soften(scores: NDArray[np.float32], count: Int) -> None:
    """softmax of scores[:count]."""
    largest = most(scores, count, LEAST_SCORE)
    for i in range(count):
        scores[i] = exponential(scores[i] - largest)
    scale = ONE / total(scores, count)
    for i in range(count):
        scores[i] = scores[i] * scale


@part
def ends(between: Between, st: Opened, stream: Int, symbol: Int) -> Any:
    """Whether a symbol ends a patch: the next one of its stream starts another."""
    entropy = 0.0
    if between.sizes[READS]:
        resets, shift = between.sizes[RESETS] != 0, between.sizes[SHIFT]
        entropy = np.float64(next_entropy(symbol, st.recent[stream], resets, between.entropies, shift))
    return step(between.rules, st.rules[stream], symbol, entropy)


@part
def pool(net: Network, local: Room, st: Opened, pooled: NDArray[np.float32], scores: NDArray[np.float32], r: Int) -> None:
    """What the open patch, which ends with row r, is made of: attention over its symbols, and its last one."""
    stream = local.rows[r, STREAM]
    count = st.counts[stream, 0]
    width, heads, head_width = net.sizes[WIDTH], net.sizes[VALUE_HEADS], net.sizes[VALUE_WIDTH]
    last = local.normed[0]
    for i in range(width):
        last[i] = local.out[r, i]
        pooled[i] = ZERO
        pooled[width + i] = last[i]
    for i in range(2 * width, (2 * width + LANES - 1) // LANES * LANES):
        pooled[i] = ZERO
    multiply(net, local, at(net) + QUERY, local.normed, local.inner, ONE_ROW)
    scale = ONE / np.sqrt(f32(head_width))
    for h in range(heads):
        start, stop = h * head_width, (h + 1) * head_width
        q, gathered = local.inner[0, start:stop], pooled[start:stop]
        normalise(q, head_width, q)
        for j in range(count):
            scores[j] = dot(st.keys[stream, j, start:stop], q, head_width) * scale
        soften(scores, count)
        for j in range(count):
            value, weight = st.values[stream, j, start:stop], scores[j]
            for i in range(gathered.size):
                gathered[i] += weight * value[i]


@part
def close_patches(
    net: Network,
    local: Room,
    between: Between,
    st: Opened,
    large: Room,
    ended: NDArray[np.int64],
    scores: NDArray[np.float32],
    symbols: NDArray[np.int64],
    n: Int,
) -> Int:
    """Put n rows into the open patches of their streams; how many end, which then are rows of `large`, pooled.

    ended: of each row, which row of `large` it ends, or −1.
    """
    width, heads, head_width = net.sizes[WIDTH], net.sizes[VALUE_HEADS], net.sizes[VALUE_WIDTH]
    multiply(net, local, at(net) + KEY_VALUE, local.out, local.qkv, n)
    closed = np.int64(0)
    for r in range(n):
        stream = local.rows[r, STREAM]
        slot = st.counts[stream, 0]
        for h in range(heads):
            start, stop = h * head_width, (h + 1) * head_width
            normalise(local.qkv[r, start:stop], head_width, st.keys[stream, slot, start:stop])
        for i in range(width):
            st.values[stream, slot, i] = local.qkv[r, width + i]
        st.counts[stream, 0] = slot + 1
        ended[r] = -1
        if ends(between, st, stream, symbols[r]):
            pool(net, local, st, large.inner[closed], scores, r)
            st.counts[stream, 0] = 0
            large.rows[closed, STREAM] = stream
            ended[r] = closed
            closed += 1
    return closed


@part
def recall(net: Network, between: Between, st: Opened, room: Room, n: Int) -> None:
    """Add what memory tells to n patches, and sum them up in it."""
    width, span = net.sizes[WIDTH], between.sizes[SPAN]
    multiply(net, room, at(net) + GATE, room.x1, room.inner, n)
    for e in range(n):
        stream = room.rows[e, STREAM]
        summed, held, told = st.summed[stream], st.held[stream], st.told[stream]
        for i in range(width):
            logit = room.inner[e, i]
            small = exponential(-abs(logit))
            gate = ONE / (ONE + small) if logit >= ZERO else small / (ONE + small)
            summed[i] += room.x1[e, i]
            room.x1[e, i] += gate * told[i]
        st.counts[stream, 1] += 1
        if st.counts[stream, 1] == span:
            st.counts[stream, 1] = 0
            for i in range(width):
                room.normed[0, i] = summed[i] / f32(span)
                summed[i] = ZERO
            multiply(net, room, at(net) + SUM_UP, room.normed, room.qkv, ONE_ROW)
            for i in range(width):
                held[i] = between.keeps[i] * held[i] + (ONE - between.keeps[i]) * room.qkv[0, i]
                room.normed[0, i] = held[i]
            multiply(net, room, at(net) + RECALLED, room.normed, room.qkv, ONE_ROW)
            for i in range(width):
                told[i] = room.qkv[0, i]


@part
def begin_patches(net: Network, between: Between, st: Streams, opened: Opened, room: Room, n: Int) -> None:
    """From what was gathered of n patches to what the stack over patches begins with."""
    for e in range(n):
        place(st, room, e)
    multiply(net, room, at(net) + POOLED, room.inner, room.x1, n)
    if between.sizes[SPAN]:
        recall(net, between, opened, room, n)


@part
def open_patches(net: Network, heads: Int, head_width: Int, room: Room, n: Int) -> None:
    """From the hidden states of n patches to what they show: keys, normalised, and values, in `qkv`."""
    multiply(net, room, at(net) + OPENED, room.out, room.qkv, n)
    for e in range(n):
        for h in range(heads):
            key = room.qkv[e, h * head_width : (h + 1) * head_width]
            normalise(key, head_width, key)


@part
def show(
    net: Network,
    slots: Int,
    local: Room,
    st: Opened,
    opened: NDArray[np.float32],
    ended: NDArray[np.int64],
    scores: NDArray[np.float32],
    n: Int,
) -> None:
    """Let each of n rows read the last complete patch of its stream; the sum is what the decoder begins with."""
    width, heads, head_width = net.sizes[WIDTH], net.sizes[VALUE_HEADS], net.sizes[VALUE_WIDTH]
    scale = ONE / np.sqrt(f32(head_width))
    multiply(net, local, at(net) + READ_QUERY, local.out, local.qkv, n)
    for r in range(n):
        shown, e = st.shown[local.rows[r, STREAM]], ended[r]
        if e >= 0:
            for i in range(shown.size):
                shown[i] = opened[e, i]
        for h in range(heads):
            start, stop = h * head_width, (h + 1) * head_width
            q, gathered = local.qkv[r, start:stop], local.normed[r, start:stop]
            normalise(q, head_width, q)
            for j in range(slots):
                scores[j] = dot(shown[j * width + start : j * width + stop], q, head_width) * scale
            soften(scores, slots)
            for i in range(gathered.size):
                gathered[i] = ZERO
            for j in range(slots):
                value, weight = shown[(slots + j) * width + start : (slots + j) * width + stop], scores[j]
                for i in range(gathered.size):
                    gathered[i] += weight * value[i]
    multiply(net, local, at(net) + READ_OUT, local.normed, local.inner, n)
    for r in range(n):
        for i in range(width):
            local.x1[r, i] = local.out[r, i] + local.inner[r, i]


@woven
def read_patches(net: Network, st: Streams, room: Room, p: Patches, symbols: NDArray[np.int64], n: Int) -> None:
    """Read `symbols[:n]` in the streams that the rows name, one after the other, with a byte-latent network.

    `net`, `st`: of its decoder.
    """
    for r in range(n):
        place(p.read, room, r)
        embed(p.encoder, p.read, room, r, symbols[r])
    compute(p.encoder, p.read, room, n)
    closed = close_patches(p.encoder, room, p.between, p.opened, p.large, p.ended, p.scores, symbols, n)
    if closed:
        begin_patches(p.middle, p.between, p.streams, p.opened, p.large, closed)
        compute(p.middle, p.streams, p.large, closed)
        heads, head_width = p.encoder.sizes[VALUE_HEADS], p.encoder.sizes[VALUE_WIDTH]
        open_patches(p.middle, p.between.sizes[SHOWN] * heads, head_width, p.large, closed)
    show(net, p.between.sizes[SHOWN], room, p.opened, p.large.qkv, p.ended, p.scores, n)
    compute(net, st, room, n)
    keep_hidden(net, st, room, n)
