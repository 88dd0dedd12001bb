"""Surprise of bytes against a plain twin, and the most surprising places against trying all of them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.scoring.surprise import SPAN_BYTES, byte_surprise, top_spans


def test_the_surprise_of_a_byte_is_that_of_its_bits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 8)).astype(np.float32)
    data = np.random.default_rng(1).integers(0, 256, 20).astype(np.uint8)
    twin = []
    for byte, row in zip(data, logits, strict=True):
        bits = [(int(byte) >> (7 - k)) & 1 for k in range(8)]
        twin.append(sum(math.log2(1 + math.exp(-float(x) if bit else float(x))) for bit, x in zip(bits, row, strict=True)))
    assert byte_surprise(logits, data) == pytest.approx(twin, rel=1e-5)


def best_window(surprise: list[float], free: list[tuple[int, int]]) -> tuple[int, int]:
    """Of all windows of full length (or of all of a shorter part), the largest; of equal ones the first."""
    windows = []
    for begin, end in free:
        size = min(SPAN_BYTES, end - begin)
        windows += [(-sum(surprise[at : at + size]), at, size) for at in range(begin, end - size + 1)]
    return min(windows)[1:]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=90), st.integers(0, 89), st.integers(1, 6))
def test_top_spans_are_those_that_trying_all_finds(values: list[int], cut: int, top: int) -> None:
    edges = sorted({0, min(cut, len(values)), len(values)})
    spans = np.array(list(pairwise(edges)), np.int64).reshape(-1, 2)
    free = [(int(begin), int(end)) for begin, end in spans]
    expected = []
    while free and len(expected) < top:
        at, size = best_window([float(value) for value in values], free)
        (part,) = [part for part in free if part[0] <= at < part[1]]
        free = [other for other in free if other != part]
        free += [rest for rest in ((part[0], at), (at + size, part[1])) if rest[0] < rest[1]]
        expected.append((at, size))
    found = top_spans(np.array(values, np.float32), spans, top)
    assert [(span.offset, span.num_bytes) for span in found] == expected
    assert [span.bits for span in found] == [sum(values[at : at + size]) for at, size in expected]


def test_empty_records_have_no_span() -> None:
    assert top_spans(np.zeros(3, np.float32), np.array([[1, 1]]), 5) == []
