"""The loops around the network: read, draw, code. One byte is network step, bit head, context mixing, and draw or code.

All of it is one compiled function, `run`, so that the network is compiled once and a call does many bytes. S streams, N symbols.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.byte_draws import byte_log_probs, pick, softplus
from bitlm_core.kernels.context_mixing import _learn, _predict
from bitlm_core.kernels.decode import compute
from bitlm_core.kernels.decode_arithmetic import dot, f32
from bitlm_core.kernels.decode_layout import STREAM, WIDTH, Network, Room, Streams, part
from bitlm_core.kernels.mixing_contexts import advance, begin, locate
from bitlm_core.kernels.mixing_layout import Int, Memory, Scratch, Tables, cached_kernel, kernel
from bitlm_core.kernels.range_coder import (
    Coder,
    decode_bit,
    encode_bit,
    finish_encoding,
    probability,
    start_decoding,
    start_encoding,
)

READ, NODES, DRAW, ENCODE, DECODE = range(5)
# indices into Job.options
KIND, NUM_SYMBOLS, MIXING, LEARN, STARTS, ENDS, OPTIONS = range(7)
EXPERT_ONE, EXPERT_LIMIT = f32(256.0), 2047  # an expert's logit in 1/256 nat, and its bounds: as in mixing.mixer
LOGIT_ONE = 1024.0


class Job(NamedTuple):
    """What a call is to do, and what comes of it. Arrays that a kind does not name may be empty.

    First the NUM_SYMBOLS `symbols` are read in their `streams`; with `logits`, the last ones predict data[0]. Then
    READ: nothing more. NODES: `nodes[0]` of stream 0, of the network alone. DRAW: `data` [S, n] from `uniforms`, their cost to
    `nats`. ENCODE: `data` [1, n] into `coder`, by `logits`. DECODE: the same back, reading as it goes. The last byte that was
    drawn or decoded is not read yet.
    """

    options: NDArray[np.int64]  # [6]
    sampling: NDArray[np.float64]  # [2]: temperature, top_p
    symbols: NDArray[np.int64]  # [N or more, at least S]
    streams: NDArray[np.int64]
    logits: NDArray[np.float32]  # [n, 8], of the bits of data[0]
    data: NDArray[np.uint8]  # [S, n]
    uniforms: NDArray[np.float64]  # [S, n]
    nats: NDArray[np.float64]  # [S, n]
    nodes: NDArray[np.float64]  # [4, 256]: node logits, ln p of bytes, and room for a draw
    recent: NDArray[np.uint8]  # [S, …] where each stream's mixer stands: Memory.recent
    context: NDArray[np.int64]  # [S, …] and Memory.context
    coder: Coder
    rarity: NDArray[np.int32]


@kernel
def node_logit(net: Network, hidden: NDArray[np.float32], node: Int) -> np.float32:
    """What the network says of a node of the byte tree."""
    return dot(net.head[node], hidden, net.sizes[WIDTH])


@part
def mixed_logit(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, says: np.float32) -> Int:
    """What the mixer says, in 1/1024 nat, with the network's logit as its expert."""
    says = min(f32(8.0), max(f32(-8.0), says))
    expert = min(EXPERT_LIMIT, max(-EXPERT_LIMIT, np.int64(np.rint(says * EXPERT_ONE))))
    return _predict(m, t, s, node, k, expert, 1)


@part
def learn_byte(m: Memory, t: Tables, s: Scratch, byte: Int, learn: Int) -> None:
    """Move the mixer past a byte whose eight predictions were made."""
    if learn:
        _learn(m, t, s, byte)
    else:
        advance(m, byte, False)


@part
def draw_along_path(
    net: Network, hidden: NDArray[np.float32], m: Memory, t: Tables, s: Scratch, job: Job, u: float
) -> tuple[Int, float]:
    """A byte at temperature 1 and its cost in nats: only the eight nodes on its path are computed."""
    node: Int = 1
    low, size, nats = 0.0, 1.0, 0.0
    for k in range(8):
        says = node_logit(net, hidden, node)
        logit = np.float64(says)
        if job.options[MIXING]:
            if k == 4:
                locate(m, t, s, 1, node, False)
            logit = np.float64(mixed_logit(m, t, s, node, k, says)) / LOGIT_ONE
        cost_zero = softplus(logit)
        zero = size * math.exp(-cost_zero)
        bit = u >= low + zero
        cost_one = softplus(-logit)
        if bit:
            low += zero
            size *= math.exp(-cost_one)
            nats += cost_one
        else:
            size = zero
            nats += cost_zero
        node = 2 * node + bit
    return node & 255, nats


@part
def draw_of_all(
    net: Network, hidden: NDArray[np.float32], m: Memory, t: Tables, s: Scratch, job: Job, u: float
) -> tuple[Int, float]:
    """A byte as `sampling` says, and its cost in nats at temperature 1: from all 255 nodes."""
    nodes, log_probs = job.nodes[0], job.nodes[1]
    for depth in range(8):
        for low in range(1 << depth):
            node: Int = (1 << depth) | low
            says = node_logit(net, hidden, node)
            nodes[node] = says
            if job.options[MIXING]:
                if depth >= 4 and low & ((1 << (depth - 4)) - 1) == 0:
                    locate(m, t, s, 1, node >> (depth - 4), False)
                nodes[node] = np.float64(mixed_logit(m, t, s, node, depth, says)) / LOGIT_ONE
    byte_log_probs(nodes, log_probs)
    byte = pick(log_probs, job.sampling[0], job.sampling[1], u, job.nodes[2:])
    return byte, -log_probs[byte]


@kernel
def put(values: NDArray[Any], into: NDArray[Any]) -> None:
    """Copy an array; an assignment would allocate."""
    for i in range(values.size):
        into[i] = values[i]


@kernel
def draw(net: Network, st: Streams, room: Room, m: Memory, t: Tables, s: Scratch, job: Job) -> None:
    """Bytes of every stream, in step."""
    count, mixing = job.data.shape[1], job.options[MIXING]
    for i in range(count):
        for stream in range(job.data.shape[0]):
            if mixing:
                put(job.recent[stream], m.recent)
                put(job.context[stream], m.context)
                begin(m, t, s)
            if job.sampling[0] == 1.0 and job.sampling[1] == 1.0:
                byte, nats = draw_along_path(net, st.hidden[stream], m, t, s, job, job.uniforms[stream, i])
            else:
                byte, nats = draw_of_all(net, st.hidden[stream], m, t, s, job, job.uniforms[stream, i])
            job.data[stream, i], job.nats[stream, i] = byte, nats
            job.symbols[stream], job.streams[stream] = byte, stream
            if mixing:
                learn_byte(m, t, s, byte, 0)
                put(m.recent, job.recent[stream])
                put(m.context, job.context[stream])
        if i + 1 < count:
            read(net, st, room, job, job.data.shape[0])


@part
def read(net: Network, st: Streams, room: Room, job: Job, count: Int) -> None:
    """The first `count` symbols; the last ones' predictions of the bytes of data[0], as many as there are logits."""
    most, first = room.rows.shape[0], count - job.logits.shape[0]
    for start in range(0, count, most):
        n = min(most, count - start)
        for r in range(n):
            room.rows[r, STREAM] = job.streams[start + r]
        compute(net, st, room, job.symbols[start:], n)
        for r in range(max(0, first - start), n if job.logits.shape[0] else 0):
            place = start + r - first
            byte = np.int64(job.data[0, place])
            for k in range(8):
                job.logits[place, k] = node_logit(net, room.out[r], (1 << k) | (byte >> (8 - k)))


@kernel
def code(net: Network, st: Streams, room: Room, m: Memory, t: Tables, s: Scratch, job: Job) -> Int:
    """Bytes of one stream into the coder or out of it; how many coded bytes there are after the end.

    A logit is rounded to 1/1024 nat before its probability is looked up, mixed or not.
    """
    c, data, mixing, decoding = job.coder, job.data[0], job.options[MIXING], job.options[KIND] == DECODE
    if job.options[STARTS]:
        if decoding:
            start_decoding(c)
        else:
            start_encoding(c)
    for i in range(data.size):
        if mixing:
            begin(m, t, s)
        byte = np.int64(data[i])
        node: Int = 1
        for k in range(8):
            says = node_logit(net, st.hidden[0], node) if decoding else job.logits[i, k]
            if mixing:
                if k == 4:
                    locate(m, t, s, 1, node, False)
                logit = mixed_logit(m, t, s, node, k, says)
            else:
                logit = np.int64(np.rint(min(f32(31.0), max(f32(-31.0), says)) * f32(LOGIT_ONE)))
            p = probability(job.rarity, logit)
            bit: Int = 0
            if decoding:
                bit = decode_bit(c, p)
            else:
                bit = (byte >> (7 - k)) & 1
                encode_bit(c, p, bit)
            node = 2 * node + bit
        byte = node & 255
        data[i] = byte
        if mixing:
            learn_byte(m, t, s, byte, job.options[LEARN])
        if decoding and i + 1 < data.size:
            job.symbols[0], job.streams[0] = byte, 0
            read(net, st, room, job, 1)
    return finish_encoding(c) if job.options[ENDS] else 0


@lru_cache(maxsize=1)
def entry_point() -> Callable[..., int]:
    """`run(net, streams, room, memory, tables, scratch, job)`, compiled on first use or taken from numba's cache on disk.

    That cache notices changes only in the file of the cached function. The stamp over all kernels is a closure variable, which
    is part of its key, so a change in any of them compiles anew.
    """
    stamp = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))

    @cached_kernel
    def run(net: Network, st: Streams, room: Room, m: Memory, t: Tables, s: Scratch, job: Job) -> Int:
        kind = job.options[KIND]
        read(net, st, room, job, job.options[NUM_SYMBOLS])
        if kind == NODES:
            for node in range(1, 256):
                job.nodes[0, node] = node_logit(net, st.hidden[0], node)
        elif kind == DRAW:
            draw(net, st, room, m, t, s, job)
        elif kind >= ENCODE:
            return code(net, st, room, m, t, s, job)
        return stamp

    return run
