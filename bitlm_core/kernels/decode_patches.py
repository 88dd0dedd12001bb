"""A byte-latent network read byte by byte, compiled: the twin of `models.patch_lm` and of `layers.patches`.

Every byte goes through the small stacks; the large one is computed only for those that end a patch, of several streams or of
several patches together. Each number is computed as it would be alone, so the results are the same bits.

W width of the streams over bytes, M width of the patches, s slots that a patch shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from bitlm_core.kernels.byte_entropy import next_entropy
from bitlm_core.kernels.decode import LEAST_SCORE, compute, embed, keep_hidden, place, read_bytes
from bitlm_core.kernels.decode_arithmetic import ONE, ZERO, dot, exponential, f32, most, multiply, normalise, total
from bitlm_core.kernels.decode_layout import (
    GATE,
    KEY_VALUE,
    LAYERS,
    OPENED,
    OUTER,
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
    Network,
    PatchNetwork,
    PatchRoom,
    PatchStreams,
    Room,
    part,
)
from bitlm_core.kernels.mixing_layout import Int, kernel
from bitlm_core.kernels.patch_rules import step
from bitlm_core.kernels.vectors import LANES

AS_PART: Any = OUTER
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
def ends(net: PatchNetwork, st: PatchStreams, stream: Int, symbol: Int) -> Any:
    """Whether a symbol ends a patch: the next one of its stream starts another."""
    entropy = 0.0
    if net.between[READS]:
        resets, shift = net.between[RESETS] != 0, net.between[SHIFT]
        entropy = np.float64(next_entropy(symbol, st.recent[stream], resets, net.entropies, shift))
    return step(net.rules, st.rules[stream], symbol, entropy)


@part
def pool(net: PatchNetwork, st: PatchStreams, room: PatchRoom, r: Int, e: Int) -> None:
    """What the open patch, which ends with row r, is made of: attention over its symbols, and its last one."""
    local, stream, count = room.local, room.local.rows[r, STREAM], st.counts[room.local.rows[r, STREAM], 0]
    width, heads, head_width = net.encoder.sizes[WIDTH], net.encoder.sizes[VALUE_HEADS], net.encoder.sizes[VALUE_WIDTH]
    pooled = room.large.inner[e]
    last = local.normed[0]
    for i in range(width):
        last[i] = local.out[r, i]
        pooled[i] = ZERO
        pooled[width + i] = last[i]
    for i in range(2 * width, (2 * width + LANES - 1) // LANES * LANES):
        pooled[i] = ZERO
    multiply(net.encoder, local, at(net.encoder) + QUERY, local.normed, local.inner, ONE_ROW)
    scale = ONE / np.sqrt(f32(head_width))
    for h in range(heads):
        start, stop = h * head_width, (h + 1) * head_width
        q, gathered = local.inner[0, start:stop], pooled[start:stop]
        normalise(q, head_width, q)
        for j in range(count):
            room.scores[j] = dot(st.keys[stream, j, start:stop], q, head_width) * scale
        soften(room.scores, count)
        for j in range(count):
            value, weight = st.values[stream, j, start:stop], room.scores[j]
            for i in range(gathered.size):
                gathered[i] += weight * value[i]


@part
def close_patches(net: PatchNetwork, st: PatchStreams, room: PatchRoom, symbols: NDArray[np.int64], n: Int) -> Int:
    """Put n rows into the open patches of their streams; how many end, which are pooled and are rows of `large` then."""
    local = room.local
    width, heads, head_width = net.encoder.sizes[WIDTH], net.encoder.sizes[VALUE_HEADS], net.encoder.sizes[VALUE_WIDTH]
    multiply(net.encoder, local, at(net.encoder) + KEY_VALUE, local.out, local.qkv, n)
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
        room.ended[r] = -1
        if ends(net, st, stream, symbols[r]):
            pool(net, st, room, r, closed)
            st.counts[stream, 0] = 0
            room.large.rows[closed, STREAM] = stream
            room.ended[r] = closed
            closed += 1
    return closed


@part
def recall(net: PatchNetwork, st: PatchStreams, room: Room, n: Int) -> None:
    """Add what memory tells to n patches, and sum them up in it."""
    width, span = net.middle.sizes[WIDTH], net.between[SPAN]
    multiply(net.middle, room, at(net.middle) + GATE, room.x1, room.inner, n)
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
            multiply(net.middle, room, at(net.middle) + SUM_UP, room.normed, room.qkv, ONE_ROW)
            for i in range(width):
                held[i] = net.keeps[i] * held[i] + (ONE - net.keeps[i]) * room.qkv[0, i]
                room.normed[0, i] = held[i]
            multiply(net.middle, room, at(net.middle) + RECALLED, room.normed, room.qkv, ONE_ROW)
            for i in range(width):
                told[i] = room.qkv[0, i]


@part
def begin_patches(net: PatchNetwork, st: PatchStreams, room: Room, n: Int) -> None:
    """From what was gathered of n patches to what the stack over patches begins with."""
    for e in range(n):
        place(st.middle, room, e)
    multiply(net.middle, room, at(net.middle) + POOLED, room.inner, room.x1, n)
    if net.between[SPAN]:
        recall(net, st, room, n)


@part
def open_patches(net: PatchNetwork, room: Room, n: Int) -> None:
    """From the hidden states of n patches to what they show: keys, normalised, and values, in `qkv`."""
    multiply(net.middle, room, at(net.middle) + OPENED, room.out, room.qkv, n)
    head_width = net.encoder.sizes[VALUE_WIDTH]
    for e in range(n):
        for h in range(net.between[SHOWN] * net.encoder.sizes[VALUE_HEADS]):
            key = room.qkv[e, h * head_width : (h + 1) * head_width]
            normalise(key, head_width, key)


@part
def show(net: PatchNetwork, st: PatchStreams, room: PatchRoom, n: Int) -> None:
    """Let each of n rows read the last complete patch of its stream; the sum is what the decoder begins with."""
    local = room.local
    width, heads, head_width = net.encoder.sizes[WIDTH], net.encoder.sizes[VALUE_HEADS], net.encoder.sizes[VALUE_WIDTH]
    slots, scale = net.between[SHOWN], ONE / np.sqrt(f32(head_width))
    multiply(net.last, local, at(net.last) + READ_QUERY, local.out, local.qkv, n)
    for r in range(n):
        shown, e = st.shown[local.rows[r, STREAM]], room.ended[r]
        if e >= 0:
            for i in range(shown.size):
                shown[i] = room.large.qkv[e, i]
        for h in range(heads):
            start, stop = h * head_width, (h + 1) * head_width
            q, gathered = local.qkv[r, start:stop], local.normed[r, start:stop]
            normalise(q, head_width, q)
            for j in range(slots):
                room.scores[j] = dot(shown[j * width + start : j * width + stop], q, head_width) * scale
            soften(room.scores, slots)
            for i in range(gathered.size):
                gathered[i] = ZERO
            for j in range(slots):
                value, weight = shown[(slots + j) * width + start : (slots + j) * width + stop], room.scores[j]
                for i in range(gathered.size):
                    gathered[i] += weight * value[i]
    multiply(net.last, local, at(net.last) + READ_OUT, local.normed, local.inner, n)
    for r in range(n):
        for i in range(width):
            local.x1[r, i] = local.out[r, i] + local.inner[r, i]


def read_patches(net: PatchNetwork, st: PatchStreams, room: PatchRoom, symbols: NDArray[np.int64], n: Int) -> None:
    """Read `symbols[:n]` in the streams that the rows name, one after the other, with a byte-latent network."""
    local = room.local
    for r in range(n):
        place(st.encoder, local, r)
        embed(net.encoder, st.encoder, local, r, symbols[r])
    compute(net.encoder, st.encoder, local, n)
    closed = close_patches(net, st, room, symbols, n)
    if closed:
        begin_patches(net, st, room.large, closed)
        compute(net.middle, st.middle, room.large, closed)
        open_patches(net, room.large, closed)
    show(net, st, room, n)
    compute(net.last, st.last, local, n)
    keep_hidden(net.last, st.last, local, n)


def read(net: Any, st: Any, room: Any, symbols: NDArray[np.int64], n: Int) -> None:
    """Read symbols with whichever network it is. The kernels choose by type, so each is compiled only where it is used."""
    how = read_patches if isinstance(net, PatchNetwork) else read_bytes
    how(net, st, room, symbols, n)


def outermost(of: Any) -> Any:
    """Of a network, of streams or of room: that of the stack that predicts."""
    return of.last if isinstance(of, PatchNetwork | PatchStreams) else of.local if isinstance(of, PatchRoom) else of


@overload(read, jit_options=AS_PART, strict=False)
def _typed_read(net: Any, st: Any, room: Any, symbols: Any, n: Any) -> Any:
    """The functions themselves: each level of calls above `compute` compiles all of it once more."""
    return read_patches if net.instance_class is PatchNetwork else read_bytes


@overload(outermost, jit_options=AS_PART, strict=False)
def _typed_outermost(of: Any) -> Any:
    if of.instance_class is PatchRoom:
        return lambda of: of.local
    if of.instance_class in (PatchNetwork, PatchStreams):
        return lambda of: of.last
    return lambda of: of
