"""One stack of blocks as the decoding kernels read it, its memories of streams, and room to compute in.

S streams, L layers, D d_model, H score heads, V value heads, C slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.kernels import decode_layout as layout
from bitlm_core.kernels.decode_layout import BLOCK, ROWS, Network, Room, Streams
from bitlm_core.kernels.vectors import LANES, pack_rows
from bitlm_core.layers.attention import Difference
from bitlm_core.layers.embedding import ByteEmbedding, NgramEmbedding
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.position import rotary_table
from bitlm_core.layers.stack import BlockStack
from bitlm_core.models.grid import row_codes

Weights = Literal["float32", "int8"]
AnyWeights = Weights | None
"""None: the network's own, see `packed.own_weights`."""
TURNS = 4096
"""Positions whose angles are held at once, where positions never end."""


def pack_stack(
    stack: BlockStack,
    weights: Weights,
    *,
    embedding: ByteEmbedding | None = None,
    ngrams: NgramEmbedding | None = None,
    head: Tensor | None = None,
    beside: Sequence[Tensor] = (),
) -> Network:
    """The stack's arrays, with what reads symbols and what predicts them, if it does. beside: matrices that are of no layer."""
    # What is summed here is summed in double precision and then rounded: PyTorch's own order is another on each machine.
    blocks: list[Any] = list(stack.blocks)
    of_layers = [
        linear.weight
        for block in blocks
        for linear in (block.attention.qkv, block.attention.out, block.feedforward.up, block.feedforward.down)
    ]
    matrices, wide, narrow, scales = _matrices([*of_layers, *beside], weights)
    pairs = [block.attention.difference for block in blocks if block.attention.difference]
    differences = [(_weight(pair), 1 - pair.init) for pair in pairs]
    halting = [torch.cat([block.halting.weight, block.halting.bias[None]]) for block in blocks if block.halting]
    nothing = np.zeros((0, stack.d_model), np.float32)
    return Network(
        sizes=_sizes(stack, ngrams),
        symbols=nothing if embedding is None else _symbols(embedding),
        ngrams=nothing if ngrams is None else floats(ngrams.weight),
        grams=_grams(ngrams),
        sinusoid=floats(stack.sinusoid) if stack.position == "sinusoidal" else nothing,
        matrices=matrices,
        wide=wide,
        narrow=narrow,
        scales=scales,
        head=nothing if head is None else floats(head),
        differences=np.array(differences, np.float32).reshape(-1, 2),
        halting=floats(torch.stack(halting)) if halting else np.zeros((0, stack.d_model + 1), np.float32),
        threshold=np.array([stack.act_threshold or 1.0], np.float32),
    )


def _symbols(embedding: ByteEmbedding) -> NDArray[np.float32]:
    return floats((embedding.byte.double() + cast(Tensor, embedding.signs).double() @ embedding.bit.double()).float())


def _grams(ngrams: NgramEmbedding | None) -> NDArray[np.int64]:
    """Of the last 2, 3, … symbols: which table is theirs."""
    orders = ngrams.orders if ngrams is not None else ()
    tables = [orders.index(n) if n in orders else -1 for n in range(2, max(orders, default=1) + 1)]
    return np.array(tables, np.int64)


def _weight(pair: Difference) -> float:
    """λ of a layer, see `layers.attention`."""
    q1, k1, q2, k2 = pair.vectors.double()
    return float((q1 @ k1).exp() - (q2 @ k2).exp()) + pair.init


def _sizes(stack: BlockStack, ngrams: NgramEmbedding | None) -> NDArray[np.int64]:
    block: Any = stack.blocks[0]
    heads, head_width = block.attention.nhead, block.attention.head_dim
    pair = 2 if block.attention.difference else 1
    sizes = np.zeros(layout.SIZES, np.int64)
    sizes[layout.WIDTH], sizes[layout.INNER] = stack.d_model, len(block.feedforward.up.weight)
    sizes[layout.LAYERS] = len(stack.blocks)
    sizes[layout.HEADS], sizes[layout.HEAD_WIDTH] = heads * pair, head_width // pair
    sizes[layout.VALUE_HEADS], sizes[layout.VALUE_WIDTH] = heads, head_width
    sizes[layout.NGRAM_ROWS] = 0 if ngrams is None else ngrams.rows
    return sizes


def _matrices(
    given: Sequence[Tensor], weights: Weights
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]:
    """Where each matrix is, and the matrices in one row: wide, or narrow with a scale per row."""
    places: list[tuple[int, int, int, int]] = []
    parts: list[NDArray[Any]] = []
    scales: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    at = scale_at = 0
    for weight in given:
        matrix = floats(weight)
        matrix = np.pad(matrix, ((0, -len(matrix) % BLOCK), (0, matrix.shape[1] % 2)))
        places.append((at, matrix.shape[1], len(matrix) // BLOCK, scale_at))
        at, scale_at = at + matrix.size, scale_at + len(matrix)
        if weights == "int8":
            scale, whole_numbers = row_codes(torch.from_numpy(matrix))
            scales.append(scale.numpy())
            parts.append(pack_rows(whole_numbers.to(torch.int8).numpy(), 2))
        else:
            parts.append(pack_rows(matrix, 1))
    whole = np.concatenate(parts)
    wide, narrow = (whole, np.zeros(0, np.int8)) if weights == "float32" else (np.zeros(0, np.float32), whole)
    return np.array(places, np.int64), wide, narrow, np.concatenate(scales)


def floats(tensor: Tensor) -> NDArray[np.float32]:
    """The tensor as the kernels take it; not copied where it is so already."""
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().numpy(), np.float32)
    return array


def open_stack(
    stack: BlockStack, net: Network, count: int, window: int, *, start: int, locality: Locality | None = None
) -> tuple[Network, Streams]:
    """Memories of `count` streams before their first position, of which a window has `window`; and the network as it sees
    with that locality. start: the symbol that stands before all others."""
    sizes = net.sizes.copy()
    near = locality or stack.locality
    slots = up_to(window, BLOCK)
    if near is not None:
        seen = up_to(near.chunk + near.overlap + ROWS, BLOCK)
        slots = seen if locality else min(slots, seen)
        sizes[layout.CHUNK], sizes[layout.OVERLAP] = near.chunk, near.overlap
    sizes[layout.SLOTS] = slots
    layers, heads, width = len(stack.blocks), int(sizes[layout.HEADS]), int(sizes[layout.HEAD_WIDTH])
    value_heads, value_width = int(sizes[layout.VALUE_HEADS]), up_to(int(sizes[layout.VALUE_WIDTH]), LANES)
    cos, sin = turns(0, TURNS if locality else window, width if stack.position == "rotary" else 0)
    streams = Streams(
        keys=np.zeros((count, layers, heads, slots // BLOCK, width, BLOCK), np.float32),
        values=np.zeros((count, layers, value_heads, slots, value_width), np.float32),
        symbols=np.full((count, len(net.grams) + 1), start, np.int64),
        lengths=np.zeros(count, np.int64),
        hidden=np.zeros((count if len(net.head) else 0, stack.d_model), np.float32),
        cos=cos,
        sin=sin,
        turns_from=np.zeros(1, np.int64),
    )
    return net._replace(sizes=sizes), streams


def turns(start: int, count: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of `count` positions from `start` on, [count, width / 2]."""
    cos, sin = rotary_table(torch.arange(start, start + count), width)
    return floats(cos[:, : width // 2]), floats(sin[:, : width // 2])


def stack_room(net: Network, num_rows: int) -> Room:
    """Scratch for so many rows."""
    z = net.sizes
    depth, rows = int(net.matrices[:, layout.DEPTH].max()), BLOCK * int(net.matrices[:, layout.BLOCKS].max())
    width, inner = up_to(int(z[layout.WIDTH]), BLOCK), up_to(max(depth, int(z[layout.INNER]), int(z[layout.WIDTH])), BLOCK)
    value_width, widest = up_to(int(z[layout.VALUE_WIDTH]), BLOCK), max(rows, inner)

    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    return Room(
        rows=np.zeros((num_rows, 2), np.int64),
        x1=zeros(num_rows, width),
        x2=zeros(num_rows, width),
        normed=zeros(num_rows, width),
        qkv=zeros(num_rows, widest),
        inner=zeros(num_rows, inner),
        scores=zeros(2, int(z[layout.SLOTS])),
        mixed=zeros(2, value_width),
        narrowed=np.zeros((num_rows, inner), np.int16),
        steps=zeros(num_rows),
        sums=np.zeros((num_rows, widest), np.int32),
        out=zeros(num_rows, width),
        spent=zeros(num_rows),
    )


def up_to(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple
