"""What the decoding kernels calculate with: sums, the norm, the exponential, and products with packed matrices.

Every operation is IEEE single precision in a fixed order (see `vectors`), the exponential included. With narrow weights,
products are sums of integers: exact. N rows at a time; a row's result does not depend on how many there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.decode_layout import AT, BLOCK, BLOCKS, DEPTH, SCALE_AT, Network, Room, part
from bitlm_core.kernels.mixing_layout import Int, kernel
from bitlm_core.kernels.vectors import (
    pairs_64,
    pairs_64_by_4,
    pairs_128,
    rows_64,
    rows_64_by_4,
    vector_dot,
    vector_largest,
    vector_most,
    vector_sum,
)

f32 = np.float32
Float = Any  # compiled: float32; interpreted: what numpy makes of it, which mypy will not follow
EPSILON = f32(1e-5)
ROUNDER = f32(12_582_912.0)  # 1.5 · 2²³: a small float plus this is rounded to a whole number
LOG2_E, LN2_HIGH, LN2_LOW = f32(1.44269504), f32(0.693359375), f32(-2.12194440e-4)
LEAST = f32(-87.0)
ONE, ZERO = f32(1.0), f32(0.0)
# exp on [−½ ln 2, ½ ln 2] by its Taylor series, whose error there is below that of single precision
E2, E3, E4, E5, E6, E7 = f32(1 / 2), f32(1 / 6), f32(1 / 24), f32(1 / 120), f32(1 / 720), f32(1 / 5040)


@kernel
def exponential(x: np.float32) -> Float:
    """e^x for x ≤ 0; below −87, as for −87."""
    x = max(x, LEAST)
    whole = np.float32(x * LOG2_E + ROUNDER)
    power = np.int32((whole.view(np.int32) << 23) + 0x3F800000)
    n = whole - ROUNDER
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = ONE + r * (ONE + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * E7))))))
    return p * power.view(np.float32)


@kernel
def total(x: NDArray[np.float32], n: Int) -> Float:
    """Σ x[:n]."""
    whole = n // 16
    found = vector_sum(x, 0, whole)
    for i in range(16 * whole, n):
        found += x[i]
    return found


@kernel
def most(x: NDArray[np.float32], n: Int, least: np.float32) -> Float:
    """The largest of x[:n] and `least`."""
    whole = n // 16
    found = max(least, vector_most(x, 0, whole))
    for i in range(16 * whole, n):
        found = max(found, x[i])
    return found


@kernel
def dot(x: NDArray[np.float32], y: NDArray[np.float32], n: Int) -> Float:
    """x[:n] · y[:n]."""
    whole = n // 16
    found = vector_dot(x, 0, y, 0, whole)
    for i in range(16 * whole, n):
        found += x[i] * y[i]
    return found


@part
def normalise(x: NDArray[np.float32], n: Int, out: NDArray[np.float32]) -> None:
    """out[:n] = (x − mean) / √(variance + ε)."""
    mean = total(x, n) / f32(n)
    for i in range(n):
        out[i] = x[i] - mean
    scale = ONE / np.sqrt(dot(out, out, n) / f32(n) + EPSILON)
    for i in range(n):
        out[i] = out[i] * scale


@part
def narrow(x: NDArray[np.float32], depth: Int, out: NDArray[np.int16]) -> Float:
    """x[:depth] as integers as large as the sums of a product allow; what one stands for. x is padded with zeros."""
    largest = vector_largest(x, 0, (depth + 15) // 16)
    if not largest > ZERO:
        for i in range(depth):
            out[i] = 0
        return largest  # zero, or not a number, which then spreads
    limit = f32(min(32_767, 0x7FFFFFFF // (127 * depth)))
    scale = limit / largest
    for i in range(depth):
        out[i] = np.int16(np.int32((x[i] * scale + ROUNDER) - ROUNDER))
    return largest / limit


@part
def multiply_wide(
    w: NDArray[np.float32], at: Int, depth: Int, blocks: Int, x: NDArray[np.float32], out: NDArray[np.float32], n: Int
) -> None:
    """out[:n] = W x[:n]."""
    x_step, out_step = x.shape[1], out.shape[1]
    for b in range(blocks):
        here = at + b * depth * BLOCK
        row = 0
        while row + 4 <= n:
            rows_64_by_4(w, here, BLOCK, x, row * x_step, x_step, depth, out, row * out_step + b * BLOCK, out_step)
            row += 4
        while row < n:
            rows_64(w, here, BLOCK, x, row * x_step, x_step, depth, out, row * out_step + b * BLOCK, out_step)
            row += 1


@part
def multiply_narrow(
    w: NDArray[np.int8], at: Int, depth: Int, blocks: Int, x: NDArray[np.int16], out: NDArray[np.int32], n: Int
) -> None:
    """out[:n] = W x[:n], in integers."""
    x_step, out_step = x.shape[1], out.shape[1]
    pairs, step = depth // 2, 2 * BLOCK
    b = 0
    while b < blocks:
        here = at + b * depth * BLOCK
        both = b + 1 < blocks
        row = 0
        while row + 4 <= n:
            to = row * out_step + b * BLOCK
            pairs_64_by_4(w, here, step, x, row * x_step, x_step, pairs, out, to, out_step)
            if both:
                pairs_64_by_4(w, here + depth * BLOCK, step, x, row * x_step, x_step, pairs, out, to + BLOCK, out_step)
            row += 4
        while row < n:
            to = row * out_step + b * BLOCK
            if both:
                pairs_128(w, here, step, x, row * x_step, x_step, pairs, out, to, out_step)
            else:
                pairs_64(w, here, step, x, row * x_step, x_step, pairs, out, to, out_step)
            row += 1
        b += 1 + both


@part
def widen(sums: NDArray[np.int32], scales: NDArray[np.float32], step: np.float32, out: NDArray[np.float32]) -> None:
    """What the sums of a narrow product stand for."""
    for i in range(scales.size):
        out[i] = f32(sums[i]) * (scales[i] * step)


@part
def multiply(net: Network, room: Room, which: Int, x: NDArray[np.float32], out: NDArray[np.float32], n: Int) -> None:
    """out[:n] = W x[:n] for the matrix `which`."""
    m = net.matrices[which]
    at, depth, blocks, scale_at = m[AT], m[DEPTH], m[BLOCKS], m[SCALE_AT]
    if net.narrow.size == 0:
        multiply_wide(net.wide, at, depth, blocks, x, out, n)
        return
    for r in range(n):
        room.steps[r] = narrow(x[r], depth, room.narrowed[r])
    multiply_narrow(net.narrow, at, depth, blocks, room.narrowed, room.sums, n)
    for r in range(n):
        widen(room.sums[r], net.scales[scale_at : scale_at + blocks * BLOCK], room.steps[r], out[r])
