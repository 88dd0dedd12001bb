"""Entropies of contexts against the blend written out over all 256 bytes."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.kernels import byte_entropy as kernel

ROWS = 1 << 20  # so many that no two contexts of these tests meet


def blended(data: bytes, context: bytes) -> np.ndarray:
    """p(byte | context): what followed the context in the data, over the same of the context without its first byte."""
    lower = blended(data, context[1:]) if context else np.full(256, 1 / 256)
    places = range(len(context), len(data))
    seen = np.bincount([data[p] for p in places if data[p - len(context) : p] == context], minlength=256)
    kinds = np.count_nonzero(seen)
    return lower if not kinds else (seen + kinds * lower) / (seen.sum() + kinds)


def entropy(data: bytes, context: bytes) -> float:
    p = blended(data, context)
    return float(-(p * np.log2(p)).sum())


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def read(data: bytes, tables: kernel.Tables, resets: bool = False) -> np.ndarray:
    found = np.empty(len(data), np.float32)
    kernel.byte_entropies(array(data), resets, tables, kernel.hash_shift(len(tables[3])), found)
    return found


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 400])
def test_every_context_has_the_entropy_of_its_blend(text: bytes, length: int) -> None:
    data = text[5000 : 5000 + length]
    tables = kernel.entropy_tables(array(data), ROWS)
    other = data + b"zz\xff\x00the quiet" + text[5000:5100]
    expected = [entropy(data, other[max(0, place - 2) : place + 1]) for place in range(len(other))]
    np.testing.assert_allclose(read(other, tables), expected, atol=2e-6)
    assert tables[0][0] == pytest.approx(entropy(data, b""), abs=2e-6)


def test_noise_agrees_too() -> None:
    """All 256 values, and few of each context: the sums over what was not seen are what counts here."""
    data = np.random.default_rng(7).integers(0, 256, 700, dtype=np.uint8).tobytes()
    expected = [entropy(data, data[max(0, place - 2) : place + 1]) for place in range(0, len(data), 9)]
    np.testing.assert_allclose(read(data, kernel.entropy_tables(array(data), ROWS))[::9], expected, atol=2e-6)


def test_where_contexts_meet_the_frequent_one_stays_and_the_other_falls_back() -> None:
    data = b"abcx" * 9 + b"defy" * 3 + b"defz"
    none, one, two, checks, three = kernel.entropy_tables(array(data), 1)
    assert checks.tolist() == [int.from_bytes(b"abc")]
    assert three[0] == pytest.approx(entropy(data, b"abc"), abs=2e-6)
    found = read(b"abcdef", (none, one, two, checks, three))
    assert found[2] == three[0]
    assert found[5] == two[int.from_bytes(b"ef")] == pytest.approx(entropy(data, b"ef"), abs=2e-6)


def test_with_resets_nothing_before_a_newline_counts() -> None:
    data = b"one\ntwo\nsix\nten\n" * 3
    tables = kernel.entropy_tables(array(data), ROWS)
    lines = read(b"x\nsix\ntwo", tables, resets=True)
    np.testing.assert_array_equal(lines[1:6], read(b"\nsix\n", tables, resets=True))
    np.testing.assert_array_equal(lines[1:5], read(b"\nsix", tables))
    assert lines[5] == tables[1][10] != read(b"x\nsix\ntwo", tables)[5]


def test_without_data_nothing_is_known() -> None:
    assert set(read(b"anything", kernel.empty_tables(ROWS)).tolist()) == {8.0}
