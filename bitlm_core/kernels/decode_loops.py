"""The loops around the network: read, draw, code. One byte is network step, bit head, context mixing, and draw or code.

All of it is one compiled function, `run`, so that the network is compiled once and a call does many bytes.

S streams, N symbols.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.byte_draws import byte_log_probs, pick, softplus
from bitlm_core.kernels.decode import read_bytes
from bitlm_core.kernels.decode_arithmetic import Float, dot, f32
from bitlm_core.kernels.decode_layout import STREAM, WIDTH, Network, Patches, Room, Streams, part, woven
from bitlm_core.kernels.decode_patches import read_patches
from bitlm_core.kernels.mixing_layout import Int, Memory, Scratch, Tables, cached_kernel, sources_stamp
from bitlm_core.kernels.mixing_step import end_byte, go_to, mixed_logit, note_place, start_byte, start_low_nibble
from bitlm_core.kernels.range_coder import (
    Coder,
    decode_bit,
    encode_bit,
    probability,
)

READ, NODES, DRAW, ENCODE, DECODE = range(5)
# indices into Job.options
KIND, NUM_SYMBOLS, STEPS, MIXING, LEARN, OPTIONS = range(6)
LOGIT_ONE = 1024.0


class Job(NamedTuple):
    """What a call is to do, and what comes of it. Arrays that a kind does not name may be empty.

    First the NUM_SYMBOLS `symbols` are read in their `streams`. READ: the last of them predict data[0], into `logits`. NODES:
    `nodes[0]` of stream 0, of the network alone. The others do STEPS bytes. DRAW: `data` [S, n] from `uniforms`, their cost to
    `nats`. ENCODE: `data` [1, n] into `coder`, by `logits`. DECODE: the same back, reading as it goes. The last byte that was
    drawn or decoded is not read yet.
    """

    options: NDArray[np.int64]  # [OPTIONS]
    sampling: NDArray[np.float64]  # [2]: temperature, top_p
    symbols: NDArray[np.int64]  # [N or more, at least S]
    streams: NDArray[np.int64]
    logits: NDArray[np.float32]  # [n, 8], of the bits of data[0]
    data: NDArray[np.uint8]  # [S, n]
    uniforms: NDArray[np.float64]  # [S, n]
    nats: NDArray[np.float64]  # [S, n]
    nodes: NDArray[np.float64]  # [4, 256]: node logits, ln p of bytes, and room for a draw
    recent: NDArray[np.uint8]  # [S, …] the places of the streams, where they share a mixer (see `mixing_step`)
    numbers: NDArray[np.int64]  # [S, …]
    coder: Coder
    rarity: NDArray[np.int32]


@part
def node_logit(net: Network, hidden: NDArray[np.float32], node: Int) -> Float:
    """What the network says of a node of the byte tree."""
    return dot(net.head[node], hidden, net.sizes[WIDTH])


@part
def walk(net: Network, hidden: NDArray[np.float32], m: Memory, t: Tables, s: Scratch, job: Job, stream: Int, i: Int) -> Int:
    """Byte i of a stream, bit by bit along its path: drawn at temperature 1, or coded.

    For coding, a logit is rounded to 1/1024 nat before its probability is looked up, mixed or not.
    """
    kind, mixing, given = job.options[KIND], job.options[MIXING], np.int64(job.data[stream, i])
    node: Int = 1
    low, size, nats = 0.0, 1.0, 0.0
    for k in range(8):
        says = job.logits[i, k] if kind == ENCODE else node_logit(net, hidden, node)
        if mixing:
            if k == 4:
                start_low_nibble(m, t, s, node)
            whole = mixed_logit(m, t, s, node, k, says)
            logit = np.float64(whole) / LOGIT_ONE
        else:
            whole = np.int64(np.rint(min(f32(31.0), max(f32(-31.0), says)) * f32(LOGIT_ONE)))
            logit = np.float64(says)
        bit: Int = 0
        if kind == DRAW:
            zero = size * math.exp(-softplus(logit))
            bit = job.uniforms[stream, i] >= low + zero
            low, size = (low + zero, size * math.exp(-softplus(-logit))) if bit else (low, zero)
            nats += softplus(-logit) if bit else softplus(logit)
        elif kind == DECODE:
            bit = decode_bit(job.coder, probability(job.rarity, whole))
        else:
            bit = (given >> (7 - k)) & 1
            encode_bit(job.coder, probability(job.rarity, whole), bit)
        node = 2 * node + bit
    if kind == DRAW:
        job.nats[stream, i] = nats
    return node & 255


@part
def choose(net: Network, hidden: NDArray[np.float32], m: Memory, t: Tables, s: Scratch, job: Job, stream: Int, i: Int) -> Int:
    """Byte i of a stream as `sampling` says, from all 255 nodes; its cost is that at temperature 1."""
    nodes, log_probs = job.nodes[0], job.nodes[1]
    for depth in range(8):
        for low in range(1 << depth):
            node: Int = (1 << depth) | low
            says = node_logit(net, hidden, node)
            nodes[node] = says
            if job.options[MIXING]:
                if depth >= 4 and low & ((1 << (depth - 4)) - 1) == 0:
                    start_low_nibble(m, t, s, node >> (depth - 4))
                nodes[node] = np.float64(mixed_logit(m, t, s, node, depth, says)) / LOGIT_ONE
    byte_log_probs(nodes, log_probs)
    byte = pick(log_probs, job.sampling[0], job.sampling[1], job.uniforms[stream, i], job.nodes[2:])
    job.nats[stream, i] = -log_probs[byte]
    return byte


@woven
def step(net: Network, st: Streams, m: Memory, t: Tables, s: Scratch, job: Job, i: Int) -> None:
    """Byte i of every stream, which then are the symbols to be read."""
    mixing, by_path = job.options[MIXING], job.options[KIND] != DRAW or (job.sampling[0] == 1 and job.sampling[1] == 1)
    for stream in range(job.data.shape[0]):
        if mixing:
            if job.recent.shape[0]:
                go_to(m, job.recent[stream], job.numbers[stream])
            start_byte(m, t, s, job.options[LEARN])
        if by_path:
            byte = walk(net, st.hidden[stream], m, t, s, job, stream, i)
        else:
            byte = choose(net, st.hidden[stream], m, t, s, job, stream, i)
        job.data[stream, i] = byte
        job.symbols[stream], job.streams[stream] = byte, stream
        if mixing:
            end_byte(m, t, s, byte, job.options[LEARN])
            if job.recent.shape[0]:
                note_place(m, job.recent[stream], job.numbers[stream])


@part
def predict(net: Network, room: Room, job: Job, first: Int, n: Int) -> None:
    """What the n rows, of which the first is the `first` of the job's, predict of the bits of data[0]."""
    for r in range(n):
        place = first + r
        if place >= 0:
            byte = np.int64(job.data[0, place])
            for k in range(8):
                job.logits[place, k] = node_logit(net, room.out[r], (1 << k) | (byte >> (8 - k)))


@lru_cache(maxsize=1)
def entry_point() -> Callable[..., int]:
    """`run(net, streams, room, patches, memory, tables, scratch, job)`, compiled on first use or taken from numba's cache on
    disk: once for byte networks, once for byte-latent ones, where the first three are those of the decoder.

    See `sources_stamp`.
    """
    stamp = sources_stamp()

    @cached_kernel
    def run(net: Network, st: Streams, room: Room, patches: Patches | None, m: Memory, t: Tables, s: Scratch, job: Job) -> Int:
        kind, steps, at_once = job.options[KIND], job.options[STEPS], room.rows.shape[0]
        symbols = job.options[NUM_SYMBOLS]
        for i in range(steps + 1):
            for first in range(0, symbols, at_once):
                n = min(at_once, symbols - first)
                for r in range(n):
                    room.rows[r, STREAM] = job.streams[first + r]
                if patches is None:  # decided by its type, so that only one of the two is compiled
                    read_bytes(net, st, room, job.symbols[first:], n)
                else:
                    read_patches(net, st, room, patches, job.symbols[first:], n)
                if kind == READ:
                    predict(net, room, job, first + job.logits.shape[0] - symbols, n)
            if i < steps:
                step(net, st, m, t, s, job, i)
                symbols = job.data.shape[0] if kind != ENCODE and i + 1 < steps else 0
        if kind == NODES:
            for node in range(1, 256):
                job.nodes[0, node] = node_logit(net, st.hidden[0], node)
        return stamp

    return run
