"""Products and sums in vectors of sixteen lanes, each operation IEEE and in a fixed order.

The compiler may not reorder floating point, so a plain loop over a sum stays slow; these functions write the vector code
themselves (LLVM's own vector types, which every machine has). A product adds up along its depth one after the other, in
each lane by itself, as a multiplication and an addition that are rounded apart. So a result depends neither on the vector
width of a machine nor on how many columns are computed together, and a plain twin gives the same bits.

Weights are packed in blocks of 64 rows, `[block][depth][64]`: see `pack_rows`. Compiled code alone can call what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as typed_cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 16
BLOCK = 64
"""Rows that are packed together."""

cgutils: Any = typed_cgutils  # its functions have no types
_FLOAT, _INT8, _INT16, _INT32, _INT64 = ir.FloatType(), *(ir.IntType(bits) for bits in (8, 16, 32, 64))
_FLOATS, _SUMS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT32, LANES)
_PAIRS8, _PAIRS16, _PAIRS32 = (ir.VectorType(kind, 2 * LANES) for kind in (_INT8, _INT16, _INT32))


def pack_rows(matrix: NDArray[Any], group: int) -> NDArray[Any]:
    """[rows, depth] → flat blocks of 64 rows, `[block][depth / group][64][group]`, with zeros where there is no row.

    `group`: neighbours along the depth that lie together; 1 for floats, 2 for the pairs of integers. It divides the depth.
    """
    rows, depth = matrix.shape
    padded = np.zeros((-(-rows // BLOCK) * BLOCK, depth), matrix.dtype)
    padded[:rows] = matrix
    blocks = padded.reshape(-1, BLOCK, depth // group, group).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks).ravel()


def _pointer(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, builder, value=array).data


def _load(builder: Any, pointer: Any, at: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer()), align=1)


def _store(builder: Any, value: Any, pointer: Any, at: Any) -> None:
    builder.store(value, builder.bitcast(builder.gep(pointer, [at]), value.type.as_pointer()), align=1)


def _splat(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))


def _shuffled(builder: Any, value: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INT32, len(lanes)), list(lanes))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _plus(builder: Any, at: Any, offset: int) -> Any:
    return builder.add(at, ir.Constant(_INT64, offset)) if offset else at


class _Floats:
    """How floats are multiplied: sixteen weights and one factor at a time."""

    kind, group = _FLOATS, 1

    @staticmethod
    def weights(builder: Any, pointer: Any, at: Any) -> Any:
        return _load(builder, pointer, at, _FLOATS)

    @staticmethod
    def factor(builder: Any, pointer: Any, at: Any) -> Any:
        return _splat(builder, builder.load(builder.gep(pointer, [at])))

    @staticmethod
    def add(builder: Any, total: Any, weights: Any, factor: Any) -> Any:
        return builder.fadd(total, builder.fmul(weights, factor))


class _Pairs:
    """How integers are: sixteen pairs of 8-bit weights and one pair of 16-bit factors, w₀x₀ + w₁x₁ in 32 bits.

    Written in the shape in which LLVM sees the machine's own instruction for just that.
    """

    kind, group = _SUMS, 2

    @staticmethod
    def weights(builder: Any, pointer: Any, at: Any) -> Any:
        return builder.sext(builder.sext(_load(builder, pointer, at, _PAIRS8), _PAIRS16), _PAIRS32)

    @staticmethod
    def factor(builder: Any, pointer: Any, at: Any) -> Any:
        return builder.sext(builder.bitcast(_splat(builder, _load(builder, pointer, at, _INT32)), _PAIRS16), _PAIRS32)

    @staticmethod
    def add(builder: Any, total: Any, weights: Any, factor: Any) -> Any:
        products = builder.mul(weights, factor)
        even, odd = (_shuffled(builder, products, range(start, 2 * LANES, 2)) for start in (0, 1))
        return builder.add(total, builder.add(even, odd))


def _product(columns: int, vectors: int, how: type[_Floats] | type[_Pairs]) -> Any:
    """`(w, w_at, w_step, x, x_at, x_step, depth, out, out_at, out_step)`: out[c, row] = Σ_j w[j, row] x[c, j].

    16 · `vectors` rows, of which those beyond 64 stand in the next block. w_step: from a j to the next; x_step, out_step: from
    a column to the next; depth: how many j (pairs of them where integers are paired).
    """
    empty = ir.Constant(how.kind, [0] * LANES)

    def rows_at(builder: Any, start: Any, block_size: Any) -> list[Any]:
        places = []
        for vector in range(vectors):
            block, within = divmod(vector * LANES, BLOCK)
            places.append(_plus(builder, builder.add(start, block_size) if block else start, within * how.group))
        return places

    def add_to(builder: Any, totals: list[Any], weights: list[Any], factor: Any) -> None:
        for total, weight in zip(totals, weights, strict=True):
            builder.store(how.add(builder, builder.load(total), weight, factor), total)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        w, x, out = (_pointer(context, builder, signature.args[i], given[i]) for i in (0, 3, 7))
        _, w_at, w_step, _, x_at, x_step, depth, _, out_at, out_step = given
        totals = [[cgutils.alloca_once(builder, how.kind) for _ in range(vectors)] for _ in range(columns)]
        for total in chain.from_iterable(totals):
            builder.store(empty, total)
        block_size = builder.mul(depth, w_step)
        with cgutils.for_range(builder, depth) as loop:
            places = rows_at(builder, builder.add(w_at, builder.mul(loop.index, w_step)), block_size)
            weights = [how.weights(builder, w, place) for place in places]
            here = builder.add(x_at, builder.mul(loop.index, ir.Constant(_INT64, how.group)))
            for c in range(columns):
                factor = how.factor(builder, x, builder.add(here, builder.mul(x_step, ir.Constant(_INT64, c))))
                add_to(builder, totals[c], weights, factor)
        for c in range(columns):
            start = builder.add(out_at, builder.mul(out_step, ir.Constant(_INT64, c)))
            for vector, total in enumerate(totals[c]):
                _store(builder, builder.load(total), out, _plus(builder, start, vector * LANES))
        return context.get_dummy_value()

    return _as_intrinsic(generate)


def _as_intrinsic(generate: Callable[..., Any]) -> Any:
    @intrinsic
    def product(
        _: Any, w: Any, w_at: Any, w_step: Any, x: Any, x_at: Any, x_step: Any, depth: Any, out: Any, out_at: Any, out_step: Any
    ) -> Any:
        at = types.int64
        return types.void(w, at, at, x, at, at, at, out, at, at), generate

    return product


def _reduction(
    step: Callable[[Any, Any, list[Any]], Any], fold: Callable[[Any, Any, Any], Any], arrays: int, start: float = 0.0
) -> Any:
    """`(x, x_at, …, vectors)`: sixteen running values over so many vectors, folded in halves into one float32."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        total = cgutils.alloca_once(builder, _FLOATS)
        builder.store(ir.Constant(_FLOATS, [start] * LANES), total)
        pointers = [_pointer(context, builder, signature.args[2 * i], given[2 * i]) for i in range(arrays)]
        with cgutils.for_range(builder, given[-1]) as loop:
            offset = builder.mul(loop.index, ir.Constant(_INT64, LANES))
            loaded = [
                _load(builder, pointer, builder.add(given[2 * i + 1], offset), _FLOATS) for i, pointer in enumerate(pointers)
            ]
            builder.store(step(builder, builder.load(total), loaded), total)
        value, width = builder.load(total), LANES
        while width > 1:
            width //= 2
            value = fold(builder, _shuffled(builder, value, range(width)), _shuffled(builder, value, range(width, 2 * width)))
        return builder.extract_element(value, ir.Constant(_INT32, 0))

    if arrays == 1:

        @intrinsic
        def reduced(_: Any, x: Any, x_at: Any, vectors: Any) -> Any:
            return types.float32(x, types.int64, types.int64), generate
    else:

        @intrinsic
        def reduced(_: Any, x: Any, x_at: Any, y: Any, y_at: Any, vectors: Any) -> Any:
            return types.float32(x, types.int64, y, types.int64, types.int64), generate

    return reduced


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _magnitude(builder: Any, value: Any) -> Any:
    bits = builder.bitcast(value, _SUMS)
    return builder.bitcast(builder.and_(bits, ir.Constant(_SUMS, [0x7FFFFFFF] * LANES)), _FLOATS)


def _sum(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


rows_64 = _product(1, 4, _Floats)
rows_64_by_4 = _product(4, 4, _Floats)
rows_16 = _product(1, 1, _Floats)
pairs_64 = _product(1, 4, _Pairs)
pairs_128 = _product(1, 8, _Pairs)
pairs_64_by_4 = _product(4, 4, _Pairs)
vector_sum = _reduction(lambda b, total, x: b.fadd(total, x[0]), _sum, 1)
vector_largest = _reduction(lambda b, total, x: _larger(b, total, _magnitude(b, x[0])), _larger, 1)
vector_most = _reduction(lambda b, total, x: _larger(b, total, x[0]), _larger, 1, -float("inf"))
vector_dot = _reduction(lambda b, total, x: b.fadd(total, b.fmul(x[0], x[1])), _sum, 2)
