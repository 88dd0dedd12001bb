"""What the decoding kernels share: a network as packed arrays, the streams that it reads, and room to compute in.

A byte network is one stack of blocks; a byte-latent one is three, and what stands between them. All three are the same types,
so that what computes them is compiled once.

Legend: N rows (positions computed together), S streams, L layers, D d_model, H score heads (two per head where attention is
differential), V value heads, C slots of a stream's memory (a ring, a multiple of 64). Of a byte-latent network: W width of the
streams over bytes, M width of the patches, O symbols that an open patch may have, s slots that a patch shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bitlm_core.kernels.byte_entropy import Tables
from bitlm_core.kernels.mixing_layout import BARE

F = TypeVar("F", bound=Callable[..., object])
ROWS = 32
"""Positions that are computed together at most."""
BLOCK = 64
QKV, OUT, UP, DOWN = range(4)  # matrices of a layer
AT, DEPTH, BLOCKS, SCALE_AT = range(4)  # columns of Network.matrices
# indices into Network.sizes
WIDTH, INNER, LAYERS, HEADS, HEAD_WIDTH, VALUE_HEADS, VALUE_WIDTH, CHUNK, OVERLAP, SLOTS, NGRAM_ROWS = range(11)
SIZES = 11
STREAM, POSITION = range(2)  # columns of Room.rows


OUTER: dict[str, Any] = {**BARE, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def part(function: F) -> F:
    """Compile a function that other kernels call, and that stays one: it is too large to be copied to where it is called."""
    return cast(F, njit(**OUTER)(function))


def woven(function: F) -> F:
    """Let a function become part of the source of those that call it: a level of calls compiles all below it once more."""
    return cast(F, njit(**OUTER, inline="always")(function))


class Network(NamedTuple):
    """A stack's weights, and those before and after it, where there are some. Either `wide` or `narrow` holds the matrices, in
    blocks of 64 rows (`vectors.pack_rows`); the other is empty. Matrices that are of no layer come after those of the last."""

    sizes: NDArray[np.int64]  # [11]
    symbols: NDArray[np.float32]  # [258, D], what each symbol is embedded as, or [0, D]
    ngrams: NDArray[np.float32]  # [tables * rows, D], or [0, D]
    grams: NDArray[np.int64]  # [longest n − 1], which table is that of the last 2, 3, … symbols; −1: none
    sinusoid: NDArray[np.float32]  # [positions, D], or [0, D] for rotary positions
    matrices: NDArray[np.int64]  # [4 L or more, 4]: where each begins, its depth, its blocks, where its scales begin
    wide: NDArray[np.float32]
    narrow: NDArray[np.int8]
    scales: NDArray[np.float32]  # of narrow: of each row
    head: NDArray[np.float32]  # [256, D] or [0, D], never narrow: only the nodes on the path of a byte are computed
    differences: NDArray[np.float32]  # [L, 2]: λ and 1 − λ_init, or [0, 2]
    halting: NDArray[np.float32]  # [L, D + 1]: weights and bias, or [0, D + 1]
    threshold: NDArray[np.float32]  # [1]


class Streams(NamedTuple):
    """What a stack has read of each stream."""

    keys: NDArray[np.float32]  # [S, L, H, C / 64, head width, 64]
    values: NDArray[np.float32]  # [S, L, V, C, value width up to a multiple of 16]
    symbols: NDArray[np.int64]  # [S, longest n], the last ones
    lengths: NDArray[np.int64]  # [S], positions read
    hidden: NDArray[np.float32]  # [S, D], what the next byte is predicted from, or [0, D]
    cos: NDArray[np.float32]  # [positions, head width / 2], from position turns_from[0] on
    sin: NDArray[np.float32]
    turns_from: NDArray[np.int64]  # [1]


class Room(NamedTuple):
    """Scratch. Widths are multiples of 64, and what lies beyond a vector's own width is zero wherever it is read."""

    rows: NDArray[np.int64]  # [N, 2]: stream and position
    x1: NDArray[np.float32]  # [N, …]
    x2: NDArray[np.float32]
    normed: NDArray[np.float32]
    qkv: NDArray[np.float32]
    inner: NDArray[np.float32]
    scores: NDArray[np.float32]  # [2, C]
    mixed: NDArray[np.float32]  # [2, value width …], values summed on both sides of a ring's end
    narrowed: NDArray[np.int16]  # [N, …], the input of a narrow product
    steps: NDArray[np.float32]  # [N], what one unit of it stands for
    sums: NDArray[np.int32]  # [N, …]
    out: NDArray[np.float32]  # [N, …], of halting: the output so far
    spent: NDArray[np.float32]  # [N], of halting: Σ p


# Matrices beside the layers of a byte-latent network: of its encoder, of the stack over patches, of its decoder
KEY_VALUE, QUERY = range(2)
POOLED, OPENED, SUM_UP, GATE, RECALLED = range(5)
READ_QUERY, READ_OUT = range(2)
# indices into Between.sizes. SPAN: 0 without memory. READS: whether the rules read entropies.
SHOWN, SPAN, READS, RESETS, SHIFT = range(5)
NUM_BETWEEN = 5


class Between(NamedTuple):
    """What stands between the stacks of a byte-latent network, but for matrices: the rules by which bytes become patches."""

    sizes: NDArray[np.int64]  # [NUM_BETWEEN]
    keeps: NDArray[np.float32]  # [M] of what memory holds, the share that stays, or [0]
    rules: NDArray[np.float64]  # see `patch_rules`
    entropies: Tables


class PatchNetwork(NamedTuple):
    """Encoder and decoder over bytes, and the stack over patches in the middle."""

    encoder: Network
    middle: Network
    last: Network
    between: Between


class Opened(NamedTuple):
    """Of each stream, the patch that is open, the patch that is shown, and memory."""

    keys: NDArray[np.float32]  # [S, O, W], of the symbols of the open patch
    values: NDArray[np.float32]  # [S, O, W]
    shown: NDArray[np.float32]  # [S, 2 s W], keys and values of the last complete patch
    counts: NDArray[np.int64]  # [S, 2]: symbols in the open patch, patches in the open span
    rules: NDArray[np.float64]  # [S, …], see `patch_rules`
    recent: NDArray[np.int64]  # [S, 2], see `byte_entropy`
    summed: NDArray[np.float32]  # [S, M], of the patches of the open span, or [S, 0]
    held: NDArray[np.float32]  # [S, M], of the complete spans
    told: NDArray[np.float32]  # [S, M], what is read of that


class PatchStreams(NamedTuple):
    """What was read of each stream."""

    encoder: Streams
    middle: Streams
    last: Streams
    opened: Opened


class PatchRoom(NamedTuple):
    """Scratch for rows of bytes, and for the patches that end in them."""

    last: Room
    large: Room
    ended: NDArray[np.int64]  # [N], which row of `large` the patch is that ends with this row; −1: none
    scores: NDArray[np.float32]  # [O or s]


class Patches(NamedTuple):
    """All of a byte-latent network, its streams and room that is not the stack which predicts: what the loops hand through."""

    encoder: Network
    read: Streams
    middle: Network
    streams: Streams
    between: Between
    opened: Opened
    large: Room
    ended: NDArray[np.int64]
    scores: NDArray[np.float32]
