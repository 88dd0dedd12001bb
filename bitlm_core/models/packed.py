"""A byte network as the decoding kernels read it: weights packed once per version, and memories of streams.

S streams, L layers, D d_model, H score heads, V value heads, C slots.
"""

from __future__ import annotations

import weakref
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.errors import ModelStateError
from bitlm_core.kernels import decode_layout as layout
from bitlm_core.kernels.decode_layout import BLOCK, ROWS, Network, Room, Streams
from bitlm_core.kernels.vectors import LANES, pack_rows
from bitlm_core.layers.attention import Difference
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.position import rotary_table
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.interface import LanguageModel

Weights = Literal["float32", "int8"]
TURNS = 4096
"""Positions whose angles are held at once, where positions never end."""

_packed: weakref.WeakKeyDictionary[LanguageModel, dict[Weights, tuple[object, Network]]] = weakref.WeakKeyDictionary()


def can_be_packed(model: LanguageModel) -> bool:
    """Whether the decoding kernels compute what this model computes: bytes, on the CPU, in single precision."""
    return isinstance(model, ByteLM) and model.device.type == "cpu" and model.compute_dtype == torch.float32


def packed(model: ByteLM, weights: Weights) -> Network:
    """The network's arrays; the same ones until a weight changes. Raises ModelStateError where a weight is not finite."""
    version = tuple((parameter.data_ptr(), parameter._version) for parameter in model.parameters()), model.config
    held = _packed.setdefault(model, {})
    if weights not in held or held[weights][0] != version:
        held[weights] = version, _pack(model, weights)
    return held[weights][1]


@torch.no_grad()
def _pack(model: ByteLM, weights: Weights) -> Network:
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise ModelStateError(
            "the network has weights that are not finite, it has diverged: load an earlier checkpoint and train it with a "
            "smaller rate"
        )
    # What is summed here is summed in double precision and then rounded: PyTorch's own order is another on each machine.
    config, stack = model.config, model.stack
    matrices, wide, narrow, scales = _matrices(model, weights)
    blocks: list[Any] = list(stack.blocks)
    pairs = [block.attention.difference for block in blocks if block.attention.difference]
    differences = [(_weight(pair), 1 - pair.init) for pair in pairs]
    halting = [torch.cat([block.halting.weight, block.halting.bias[None]]) for block in blocks if block.halting]
    embedding = model.embedding
    ngrams = model.ngram_embedding
    return Network(
        sizes=_sizes(model),
        symbols=_floats((embedding.byte.double() + cast(Tensor, embedding.signs).double() @ embedding.bit.double()).float()),
        ngrams=np.zeros((0, config.d_model), np.float32) if ngrams is None else _floats(ngrams.weight),
        sinusoid=_floats(stack.sinusoid) if stack.position == "sinusoidal" else np.zeros((0, config.d_model), np.float32),
        matrices=matrices,
        wide=wide,
        narrow=narrow,
        scales=scales,
        head=_floats(model.head.weight),
        differences=np.array(differences, np.float32).reshape(-1, 2),
        halting=_floats(torch.stack(halting)) if halting else np.zeros((0, config.d_model + 1), np.float32),
        threshold=np.array([stack.act_threshold or 1.0], np.float32),
    )


def _weight(pair: Difference) -> float:
    """λ of a layer, see `layers.attention`."""
    q1, k1, q2, k2 = pair.vectors.double()
    return float((q1 @ k1).exp() - (q2 @ k2).exp()) + pair.init


def _sizes(model: ByteLM) -> NDArray[np.int64]:
    config = model.config
    pair = 2 if config.attention == "differential" else 1
    sizes = np.zeros(layout.SIZES, np.int64)
    head_width = config.d_model // config.nhead
    sizes[layout.WIDTH], sizes[layout.INNER], sizes[layout.LAYERS] = config.d_model, config.dim_feedforward, config.num_layers
    sizes[layout.HEADS], sizes[layout.HEAD_WIDTH] = config.nhead * pair, head_width // pair
    sizes[layout.VALUE_HEADS], sizes[layout.VALUE_WIDTH] = config.nhead, head_width
    sizes[layout.NGRAM_ROWS] = config.ngram_rows
    return sizes


def _matrices(
    model: ByteLM, weights: Weights
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]:
    """Where each matrix is, and the matrices in one row: wide, or narrow with a scale per row."""
    places: list[tuple[int, int, int, int]] = []
    parts: list[NDArray[Any]] = []
    scales: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    at = scale_at = 0
    for block in cast("list[Any]", model.stack.blocks):
        for linear in (block.attention.qkv, block.attention.out, block.feedforward.up, block.feedforward.down):
            matrix = _floats(linear.weight)
            matrix = np.pad(matrix, ((0, -len(matrix) % BLOCK), (0, matrix.shape[1] % 2)))
            places.append((at, matrix.shape[1], len(matrix) // BLOCK, scale_at))
            at, scale_at = at + matrix.size, scale_at + len(matrix)
            if weights == "int8":
                scale, narrow_matrix = narrowed(matrix)
                scales.append(scale)
                parts.append(pack_rows(narrow_matrix, 2))
            else:
                parts.append(pack_rows(matrix, 1))
    whole = np.concatenate(parts)
    wide, narrow = (whole, np.zeros(0, np.int8)) if weights == "float32" else (np.zeros(0, np.float32), whole)
    return np.array(places, np.int64), wide, narrow, np.concatenate(scales)


def narrowed(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """[rows] scales and [rows, depth] integers within ±127, whose product is the matrix but for rounding."""
    scale = np.maximum(np.abs(matrix).max(axis=1), np.float32(1e-30)) / np.float32(127)
    return scale.astype(np.float32), np.rint(matrix / scale[:, None]).astype(np.int8)


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().numpy(), np.float32)
    return array


def open_streams(model: ByteLM, net: Network, count: int, locality: Locality | None) -> tuple[Network, Streams]:
    """Memories of `count` streams before their first symbol; and the network as it sees with that locality."""
    config, sizes = model.config, net.sizes.copy()
    near = locality or model.stack.locality
    slots = _up_to(config.max_seq_len, BLOCK)
    if near is not None:
        seen = _up_to(near.chunk + near.overlap + ROWS, BLOCK)
        slots = seen if locality else min(slots, seen)
        sizes[layout.CHUNK], sizes[layout.OVERLAP] = near.chunk, near.overlap
    sizes[layout.SLOTS] = slots
    layers, heads, width = config.num_layers, int(sizes[layout.HEADS]), int(sizes[layout.HEAD_WIDTH])
    value_width = _up_to(int(sizes[layout.VALUE_WIDTH]), LANES)
    positions = TURNS if locality else config.max_seq_len
    cos, sin = turns(0, positions, width if config.position == "rotary" else 0)
    streams = Streams(
        keys=np.zeros((count, layers, heads, slots // BLOCK, width, BLOCK), np.float32),
        values=np.zeros((count, layers, config.nhead, slots, value_width), np.float32),
        symbols=np.full((count, 3), model.start_symbol, np.int64),
        lengths=np.zeros(count, np.int64),
        hidden=np.zeros((count, config.d_model), np.float32),
        cos=cos,
        sin=sin,
        turns_from=np.zeros(1, np.int64),
    )
    return net._replace(sizes=sizes), streams


def turns(start: int, count: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of `count` positions from `start` on, [count, width / 2]."""
    cos, sin = rotary_table(torch.arange(start, start + count), width)
    return _floats(cos[:, : width // 2]), _floats(sin[:, : width // 2])


def open_room(net: Network, num_rows: int = ROWS) -> Room:
    """Scratch for so many rows."""
    z = net.sizes
    width, inner = _up_to(int(z[layout.WIDTH]), BLOCK), _up_to(int(max(z[layout.INNER], z[layout.WIDTH])), BLOCK)
    value_width = _up_to(int(z[layout.VALUE_WIDTH]), BLOCK)

    def floats(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    widest = max(_up_to(3 * int(z[layout.WIDTH]), BLOCK), inner)
    return Room(
        rows=np.zeros((num_rows, 2), np.int64),
        x1=floats(num_rows, width),
        x2=floats(num_rows, width),
        normed=floats(num_rows, width),
        qkv=floats(num_rows, widest),
        inner=floats(num_rows, inner),
        scores=floats(2, int(z[layout.SLOTS])),
        mixed=floats(2, value_width),
        narrowed=np.zeros((num_rows, inner), np.int16),
        steps=floats(num_rows),
        sums=np.zeros((num_rows, widest), np.int32),
        out=floats(num_rows, width),
        spent=floats(num_rows),
    )


def _up_to(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
