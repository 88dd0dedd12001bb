"""Products and sums in vectors against plain twins that add in the same order: the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit

from bitlm_core.kernels.mixing_layout import BARE
from bitlm_core.kernels.vectors import (
    pack_rows,
    pairs_64,
    pairs_64_by_4,
    pairs_128,
    rows_16,
    rows_64,
    rows_64_by_4,
    vector_dot,
    vector_largest,
    vector_most,
    vector_sum,
)

ROWS, DEPTH = 128, 38


@njit(**BARE)
def computed(w, narrow, x, whole, out, sums, found):  # type: ignore[no-untyped-def]
    """Every function once; what each writes lies beside the others."""
    size, pairs = 64 * DEPTH, DEPTH // 2
    for b in range(2):
        rows_64_by_4(w, b * size, 64, x, 0, DEPTH, DEPTH, out[0], 64 * b, ROWS)
        pairs_64_by_4(narrow, b * size, 128, whole, 0, DEPTH, pairs, sums[0], 64 * b, ROWS)
        for c in range(4):
            rows_64(w, b * size, 64, x, c * DEPTH, 0, DEPTH, out[1], c * ROWS + 64 * b, 0)
            pairs_64(narrow, b * size, 128, whole, c * DEPTH, 0, pairs, sums[1], c * ROWS + 64 * b, 0)
            for part in range(4):
                rows_16(w, b * size + 16 * part, 64, x, c * DEPTH, 0, DEPTH, out[2], c * ROWS + 64 * b + 16 * part, 0)
    for c in range(4):
        pairs_128(narrow, 0, 128, whole, c * DEPTH, 0, pairs, sums[2], c * ROWS, 0)
    found[0] = vector_sum(x, 3, 4)
    found[1] = vector_largest(x, 3, 4)
    found[2] = vector_most(x, 3, 4)
    found[3] = vector_dot(x, 3, w, 5, 4)


def folded(lanes: np.ndarray) -> np.float32:
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return np.float32(lanes[0])


def test_compiled_equals_plain() -> None:
    random = np.random.default_rng(0)
    w = random.normal(size=(ROWS, DEPTH)).astype(np.float32)
    x = random.normal(size=(4, DEPTH)).astype(np.float32) - np.float32(1)
    narrow = random.integers(-127, 128, (ROWS, DEPTH)).astype(np.int8)
    whole = random.integers(-32767, 32768, (4, DEPTH)).astype(np.int16)
    out, sums = np.zeros((3, 4, ROWS), np.float32), np.zeros((3, 4, ROWS), np.int32)
    found, packed = np.zeros(4, np.float32), pack_rows(w, 1)
    computed(packed, pack_rows(narrow, 2), x, whole, out.reshape(3, -1), sums.reshape(3, -1), found)
    plain = np.zeros((4, ROWS), np.float32)
    for j in range(DEPTH):
        plain += w[:, j] * x[:, j : j + 1]
    assert all(np.array_equal(each, plain) for each in out)
    exact = whole.astype(np.int64) @ narrow.T.astype(np.int64)
    assert all(np.array_equal(each, exact) for each in sums)
    part, other = x.ravel()[3:67].reshape(4, 16), packed[5:69].reshape(4, 16)
    total, products = np.zeros(16, np.float32), np.zeros(16, np.float32)
    for a, b in zip(part, other, strict=True):
        total += a
        products += a * b
    assert part.max() < 0 < np.abs(part).max() or part.max() > 0
    assert found.tolist() == [folded(total), np.abs(part).max(), part.max(), folded(products)]


def test_packing_pads_with_zeros_and_keeps_groups_together() -> None:
    matrix = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    packed = pack_rows(matrix, 2).reshape(1, 2, 64, 2)
    assert packed[0, 1, 2].tolist() == [11, 12]
    assert np.count_nonzero(packed) == 12
