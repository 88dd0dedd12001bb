"""Coding with the predictions of the mixer, or with those of anything else: bytes to coded bytes and back.

The mixer's own loop predicts a bit, codes it and goes on; after a byte it learns, or only moves along. Encoder and decoder
run the same code on the same integers, so they agree on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.context_mixing import _learn, _predict
from bitlm_core.kernels.mixing_contexts import advance
from bitlm_core.kernels.mixing_layout import (
    Int,
    Memory,
    Scratch,
    Tables,
    cached_kernel,
    kernel,
    sources_stamp,
)
from bitlm_core.kernels.mixing_slots import begin, locate
from bitlm_core.kernels.mixing_undo import note
from bitlm_core.kernels.range_coder import (
    Coder,
    decode_bit,
    encode_bit,
    finish_encoding,
    probability,
    start_decoding,
    start_encoding,
)


@kernel
def _code(
    m: Memory,
    t: Tables,
    s: Scratch,
    c: Coder,
    rarity: NDArray[np.int32],
    data: NDArray[np.uint8],
    expert: NDArray[np.int32],
    decoding: Int,
    learn: bool,
    trace: NDArray[np.int64],
) -> None:
    """Encode data [N], or decode N bytes into it. expert: stretches [N, 8] for encoding, or [0, 8] where there is none.

    trace: [N, TRACE] takes the places that are learned into, see `mixing_undo`; [0, TRACE] where nobody asks.
    """
    has_expert = (expert.shape[0] == data.size) * 1
    for i in range(data.size):
        begin(m, t, s, learn)
        byte = np.int64(data[i])
        node: Int = 1
        for k in range(8):
            if k == 4:
                locate(m, t, s, 1, node)
            says = np.int64(expert[i, k]) if has_expert else 0
            p = probability(rarity, _predict(m, t, s, node, k, says, has_expert))
            if decoding:
                bit = decode_bit(c, p)
            else:
                bit = (byte >> (7 - k)) & 1
                encode_bit(c, p, bit)
            node = 2 * node + bit
        byte = node & 255
        data[i] = byte
        if learn:
            _learn(m, t, s, byte)
        else:
            advance(m, t, byte, False)
        if trace.shape[0] == data.size:
            note(m, s, trace[i])


@kernel
def code_nodes(c: Coder, rarity: NDArray[np.int32], logits: NDArray[np.int32], byte: Int) -> Int:
    """Encode one byte with the logits [256] of its tree, or decode it where `byte` is negative; the byte."""
    node: Int = 1
    for k in range(8):
        p = probability(rarity, np.int64(logits[node]))
        if byte < 0:
            bit = decode_bit(c, p)
        else:
            bit = (byte >> (7 - k)) & 1
            encode_bit(c, p, bit)
        node = 2 * node + bit
    return node & 255


class CodingEntryPoints(NamedTuple):
    """The compiled kernels that Python calls; arguments as above. Each returns a number it ends with."""

    start: Callable[[Coder, int], int]
    """(coder, whether to decode)"""
    code: Callable[..., int]
    nodes: Callable[[Coder, NDArray[np.int32], NDArray[np.int32], int], int]
    finish: Callable[[Coder], int]


@lru_cache(maxsize=1)
def coding_entry_points() -> CodingEntryPoints:
    """Compile on first use, or take from numba's cache on disk."""
    stamp = sources_stamp()

    @cached_kernel
    def start(c: Coder, decoding: Int) -> Int:
        if decoding:
            start_decoding(c)
        else:
            start_encoding(c)
        return stamp

    @cached_kernel
    def code(
        m: Memory,
        t: Tables,
        s: Scratch,
        c: Coder,
        rarity: NDArray[np.int32],
        data: NDArray[np.uint8],
        expert: NDArray[np.int32],
        decoding: Int,
        learn: bool,
        trace: NDArray[np.int64],
    ) -> Int:
        _code(m, t, s, c, rarity, data, expert, decoding, learn, trace)
        return stamp

    @cached_kernel
    def nodes(c: Coder, rarity: NDArray[np.int32], logits: NDArray[np.int32], byte: Int) -> Int:
        return code_nodes(c, rarity, logits, byte) + 0 * stamp

    @cached_kernel
    def finish(c: Coder) -> Int:
        return finish_encoding(c) + 0 * stamp

    return CodingEntryPoints(start, code, nodes, finish)
