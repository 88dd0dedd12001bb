"""Blocks over positions that are read one after the other, compiled: the twin of `layers.stack`, and of `models.byte_lm`.

Up to 32 positions are computed together: of one stream, one after the other, or of several streams. Weights are then read
once for all; each position's arithmetic is the same as alone, operation for operation, so the results are the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.decode_arithmetic import ONE, ZERO, dot, exponential, f32, most, multiply, normalise, total
from bitlm_core.kernels.decode_layout import (
    BLOCK,
    CHUNK,
    DOWN,
    HEAD_WIDTH,
    HEADS,
    INNER,
    LAYERS,
    NGRAM_ROWS,
    OUT,
    OVERLAP,
    POSITION,
    QKV,
    SLOTS,
    STREAM,
    UP,
    VALUE_HEADS,
    VALUE_WIDTH,
    WIDTH,
    Network,
    Room,
    Streams,
    part,
    woven,
)
from bitlm_core.kernels.mixing_layout import Int
from bitlm_core.kernels.vectors import rows_16, rows_64

START = 257
LEAST_SCORE = f32(-np.inf)
SMALLEST = f32(np.finfo(np.float32).eps)  # PyTorch's default in rms_norm
ROLLING, GOLDEN = 1_000_003, -7_046_029_254_386_353_131  # as in layers.embedding


@part
def place(st: Streams, room: Room, r: Int) -> None:
    """Row r is the next position of its stream."""
    stream = room.rows[r, STREAM]
    room.rows[r, POSITION] = st.lengths[stream]
    st.lengths[stream] += 1


@part
def embed(net: Network, st: Streams, room: Room, r: Int, symbol: Int) -> None:
    """Let row r be a symbol, the next one of its stream."""
    stream, width, reach = room.rows[r, STREAM], net.sizes[WIDTH], net.grams.size
    last = st.symbols[stream]
    for i in range(reach):
        last[i] = last[i + 1]
    last[reach] = symbol
    x = room.x1[r]
    for i in range(width):
        x[i] = net.symbols[symbol, i]
    tables = net.sizes[NGRAM_ROWS]
    if tables:
        before: Int = symbol
        hashed = np.int64(symbol + 1)
        for back in range(1, reach + 1):
            before = START if before == START else last[reach - back]
            hashed = hashed * ROLLING + before + 1
            if net.grams[back - 1] >= 0:
                row = ((hashed * GOLDEN) >> 32 & 0x7FFFFFFF) % tables + net.grams[back - 1] * tables
                for i in range(width):
                    x[i] += net.ngrams[row, i]


@part
def begin(net: Network, room: Room, r: Int) -> None:
    """Open both streams of row r."""
    x, width = room.x1[r], net.sizes[WIDTH]
    if net.sinusoid.shape[0]:
        for i in range(width):
            x[i] += net.sinusoid[room.rows[r, POSITION], i]
    normalise(x, width, room.x2[r])
    for i in range(width):
        x[i] = room.x2[r, i]
        room.out[r, i] = ZERO
    room.spent[r] = ZERO


@part
def turn(x: NDArray[np.float32], width: Int, cos: NDArray[np.float32], sin: NDArray[np.float32]) -> None:
    """Normalise a head of a query or key, and turn it by the angles of its position; none are given for other positions."""
    normalise(x, width, x)
    left, right = x[: cos.size], x[cos.size :]
    for i in range(cos.size):
        a, b = left[i], right[i]
        left[i] = a * cos[i] - b * sin[i]
        right[i] = b * cos[i] + a * sin[i]


@part
def remember(net: Network, st: Streams, room: Room, layer: Int, r: Int) -> None:
    """Finish the queries of row r, and put its keys and values into the memory of its stream."""
    z = net.sizes
    stream, position = room.rows[r, STREAM], room.rows[r, POSITION]
    heads, width, slots = z[HEADS], z[HEAD_WIDTH], z[SLOTS]
    slot = position % slots
    qkv, keys, values = room.qkv[r], st.keys[stream, layer], st.values[stream, layer]
    angle = position - st.turns_from[0]
    cos, sin = st.cos[angle], st.sin[angle]
    scale = ONE / np.sqrt(f32(width))
    for h in range(heads):
        q, k = qkv[h * width : (h + 1) * width], qkv[(heads + h) * width : (heads + h + 1) * width]
        turn(q, width, cos, sin)
        turn(k, width, cos, sin)
        column = keys[h, slot // BLOCK, :, slot % BLOCK]
        for i in range(width):
            q[i] = q[i] * scale
            column[i] = k[i]
    for h in range(z[VALUE_HEADS]):
        start = 2 * heads * width + h * z[VALUE_WIDTH]
        v = qkv[start : start + z[VALUE_WIDTH]]
        for i in range(v.size):
            values[h, slot, i] = v[i]


@part
def weigh(
    keys: NDArray[np.float32], q: NDArray[np.float32], width: Int, first: Int, seen: Int, scores: NDArray[np.float32]
) -> None:
    """scores[slot] = softmax(K q) for the `seen` slots from `first` on, around the end of the ring."""
    slots = scores.shape[0]
    until = min(first + seen, slots)
    around = seen - (until - first)
    for b in range(first // BLOCK, (until + BLOCK - 1) // BLOCK):
        rows_64(keys[b], 0, BLOCK, q, 0, 0, width, scores, b * BLOCK, 0)
    for b in range(min(first // BLOCK, (around + BLOCK - 1) // BLOCK)):
        rows_64(keys[b], 0, BLOCK, q, 0, 0, width, scores, b * BLOCK, 0)
    # Loops from zero over a part of an array: from elsewhere, numba asks at each step whether the index is negative.
    here, there = scores[first:until], scores[:around]
    largest = most(there, around, most(here, until - first, LEAST_SCORE))
    for i in range(here.size):
        here[i] = exponential(here[i] - largest)
    for i in range(there.size):
        there[i] = exponential(there[i] - largest)
    scale = ONE / (total(here, until - first) + total(there, around))
    for i in range(here.size):
        here[i] = here[i] * scale
    for i in range(there.size):
        there[i] = there[i] * scale


@part
def gather(values: NDArray[np.float32], weights: NDArray[np.float32], first: Int, count: Int, out: NDArray[np.float32]) -> None:
    """out = Σ weights[slot] values[slot] over `count` slots from `first` on."""
    width = values.shape[1]
    at = first * width
    done = 0
    while done + BLOCK <= width:
        rows_64(values, at + done, width, weights, first, 0, count, out, done, 0)
        done += BLOCK
    while done < width:
        rows_16(values, at + done, width, weights, first, 0, count, out, done, 0)
        done += 16


@part
def attend(net: Network, st: Streams, room: Room, layer: Int, r: Int) -> None:
    """What row r gathers from the values it sees, into its row of `normed`."""
    z = net.sizes
    stream, position, slots, width = room.rows[r, STREAM], room.rows[r, POSITION], z[SLOTS], z[VALUE_WIDTH]
    begin = max(0, position // z[CHUNK] * z[CHUNK] - z[OVERLAP]) if z[CHUNK] else 0
    seen = position + 1 - begin
    first = begin % slots
    until = min(first + seen, slots)
    around = seen - (until - first)
    pair = z[HEADS] // z[VALUE_HEADS]
    weights = room.scores[0]
    for h in range(z[VALUE_HEADS]):
        for j in range(pair):
            head = h * pair + j
            q = room.qkv[r, head * z[HEAD_WIDTH] : (head + 1) * z[HEAD_WIDTH]]
            weigh(st.keys[stream, layer, head], q, z[HEAD_WIDTH], first, seen, room.scores[j])
        if pair == 2:
            for i in range(slots):
                weights[i] = weights[i] - net.differences[layer, 0] * room.scores[1, i]
        y = room.mixed[0]
        gather(st.values[stream, layer, h], weights, first, until - first, y)
        if around:
            gather(st.values[stream, layer, h], weights, 0, around, room.mixed[1])
            for i in range(width):
                y[i] = y[i] + room.mixed[1, i]
        scale = ONE
        if pair == 2:
            scale = net.differences[layer, 1] / np.sqrt(dot(y, y, width) / f32(width) + SMALLEST)
        gathered = room.normed[r, h * width : (h + 1) * width]
        for i in range(width):
            gathered[i] = y[i] * scale


@part
def halt(net: Network, room: Room, layer: Int, r: Int) -> None:
    """Add the layer's share to the output of row r, and sum up whether it has halted (see `layers.halting`)."""
    width, threshold, spent = net.sizes[WIDTH], net.threshold[0], room.spent[r]
    if not spent < threshold:
        return
    state, normed = room.inner[r], room.normed[r]
    for i in range(width):
        state[i] = room.x1[r, i] + room.x2[r, i]
    normalise(state, width, normed)
    logit = dot(normed, net.halting[layer], width) + net.halting[layer, width]
    small = exponential(-abs(logit))
    p = ONE / (ONE + small) if logit >= ZERO else small / (ONE + small)
    halts = layer == net.sizes[LAYERS] - 1 or spent + p >= threshold
    weight = ONE - spent if halts else p
    room.spent[r] = ONE if halts else spent + p
    for i in range(width):
        room.out[r, i] += weight * state[i]


@part
def compute_layer(net: Network, st: Streams, room: Room, layer: Int, n: Int) -> None:
    """One block: x1 += attention(x2), x2 += feedforward(x1), for rows that have not halted."""
    width, inner, threshold = net.sizes[WIDTH], net.sizes[INNER], net.threshold[0]
    for r in range(n):
        normalise(room.x2[r], width, room.normed[r])
    multiply(net, room, 4 * layer + QKV, room.normed, room.qkv, n)
    moving = 0
    for r in range(n):
        remember(net, st, room, layer, r)
        moving += room.spent[r] < threshold
    if not moving:
        return
    for r in range(n):
        attend(net, st, room, layer, r)
    multiply(net, room, 4 * layer + OUT, room.normed, room.inner, n)
    for r in range(n):
        if room.spent[r] < threshold:
            for i in range(width):
                room.x1[r, i] += room.inner[r, i]
        normalise(room.x1[r], width, room.normed[r])
    multiply(net, room, 4 * layer + UP, room.normed, room.inner, n)
    for r in range(n):
        for i in range(inner):
            up = max(room.inner[r, i], ZERO)
            room.inner[r, i] = up * up
    multiply(net, room, 4 * layer + DOWN, room.inner, room.normed, n)
    for r in range(n):
        if room.spent[r] < threshold:
            for i in range(width):
                room.x2[r, i] += room.normed[r, i]
        if net.halting.shape[0]:
            halt(net, room, layer, r)


@woven
def compute(net: Network, st: Streams, room: Room, n: Int) -> None:
    """All blocks, of n rows in the order of their streams, from what is in x1; the hidden states are in `out`."""
    width = net.sizes[WIDTH]
    for r in range(n):
        begin(net, room, r)
    for layer in range(net.sizes[LAYERS]):
        compute_layer(net, st, room, layer, n)
    for r in range(n):
        if not net.halting.shape[0]:
            for i in range(width):
                room.out[r, i] = room.x1[r, i] + room.x2[r, i]
        normalise(room.out[r], width, room.out[r])


@part
def keep_hidden(net: Network, st: Streams, room: Room, n: Int) -> None:
    """`hidden` of each stream is that of its last row."""
    for r in range(n):
        for i in range(net.sizes[WIDTH]):
            st.hidden[room.rows[r, STREAM], i] = room.out[r, i]


@woven
def read_bytes(net: Network, st: Streams, room: Room, symbols: NDArray[np.int64], n: Int) -> None:
    """Read `symbols[:n]` in the streams that the rows name, one after the other, with a byte network."""
    for r in range(n):
        place(st, room, r)
        embed(net, st, room, r, symbols[r])
    compute(net, st, room, n)
    keep_hidden(net, st, room, n)
