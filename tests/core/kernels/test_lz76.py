"""LZ76: the count by hand, and the suffix automaton against Kaspar and Schuster's search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.errors import CodecError, ResourceLimitError
from bitlm_core.kernels.lz76 import MAX_BITS, lz76_phrases, lz76_phrases_reference

# The same examples on every run; no deadline, as the first call may compile and machines are shared.
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300)


def as_array(symbols) -> np.ndarray:
    return np.array([int(symbol) for symbol in symbols], dtype=np.uint8)


@pytest.mark.parametrize("count", [lz76_phrases, lz76_phrases_reference])
@pytest.mark.parametrize(
    ("digits", "phrases"),
    [
        ("", 0),
        ("1", 1),
        ("00", 2),  # 0 · 0 (cut off)
        ("01", 2),  # 0 · 1
        ("0000000000", 2),  # 0 · 000000000 (cut off)
        ("0101010101", 3),  # 0 · 1 · 01010101 (cut off)
        ("0001101001000101", 6),  # 0 · 001 · 10 · 100 · 1000 · 101, Kaspar and Schuster's example
    ],
)
def test_by_hand(count, digits, phrases):
    assert count(as_array(digits)) == phrases


@pytest.mark.parametrize("length", range(1, 13))
def test_every_short_sequence_equals_the_twin(length):
    for symbols in itertools.product((0, 1), repeat=length):
        bits = as_array(symbols)
        assert lz76_phrases(bits) == lz76_phrases_reference(bits), symbols


def phrases_by_definition(text: str) -> int:
    """An oracle of its own, from Lempel and Ziv's definition and nothing else: a phrase is the shortest piece, from where the
    last one ended, that does not occur in the text up to but without the piece's own last symbol."""
    count = start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and text[start:end] in text[: end - 1]:
            end += 1
        count, start = count + 1, end
    return count


def test_equals_the_definition_on_ten_thousand_random_strings() -> None:
    chance = np.random.default_rng(76)
    for index in range(10_000):
        share = (0.5, 0.1, 0.9, 0.3)[index % 4]
        bits = (chance.random(int(chance.integers(1, 120))) < share).astype(np.uint8)
        assert lz76_phrases(bits) == phrases_by_definition("".join(map(str, bits.tolist()))), bits.tolist()


@pytest.mark.parametrize(
    ("digits", "phrases"),
    [
        ("0001101001000101", 6),  # F. Kaspar, H. G. Schuster, Phys. Rev. A 36 (1987), their worked example
        ("1001111011000010", 6),  # 1 · 0 · 01 · 1110 · 1100 · 0010, an example in common use
        ("0" * 1000, 2),
        ("01" * 500, 3),
    ],
)
def test_published_examples_by_all_three(digits: str, phrases: int) -> None:
    bits = as_array(digits)
    assert phrases_by_definition(digits) == lz76_phrases(bits) == lz76_phrases_reference(bits) == phrases


@EXAMPLES
@given(symbols=st.lists(st.integers(0, 1), max_size=120))
def test_equals_the_twin(symbols):
    bits = as_array(symbols)
    assert lz76_phrases(bits) == lz76_phrases_reference(bits)


@pytest.mark.parametrize("share_of_ones", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("period", [7, 60, 400])
def test_equals_the_twin_on_noisy_repeats(share_of_ones, period):
    # Repeats with rare changes split states while a phrase is inside them, the one subtle step of the automaton.
    rng = np.random.default_rng([period, int(share_of_ones * 100)])
    bits = np.resize((rng.random(period) < share_of_ones).astype(np.uint8), 400)
    bits[rng.integers(0, 400, size=4)] ^= 1
    assert lz76_phrases(bits) == lz76_phrases_reference(bits)


def test_a_strided_view_counts_as_its_copy():
    bits = np.random.default_rng(1).integers(0, 2, size=2000).astype(np.uint8)[::3]
    assert lz76_phrases(bits) == lz76_phrases(bits.copy())


def test_long_sequences():
    assert lz76_phrases(np.zeros(1 << 20, dtype=np.uint8)) == 2
    bits = np.random.default_rng(2).integers(0, 2, size=1 << 18).astype(np.uint8)
    # A random sequence approaches n / log2 n from above.
    assert 1.0 < lz76_phrases(bits) * 18 / (1 << 18) < 1.15


def test_refuses_what_would_leave_its_tables():
    with pytest.raises(CodecError) as caught:
        lz76_phrases(np.array([0, 1, 2], dtype=np.uint8))
    assert (caught.value.index, caught.value.value) == (2, 2)
    with pytest.raises(CodecError) as caught:
        lz76_phrases(np.zeros(3))
    assert caught.value.dtype == "float64"
    with pytest.raises(ResourceLimitError) as limited:
        lz76_phrases(np.zeros(MAX_BITS + 1, dtype=np.uint8))
    assert (limited.value.estimate, limited.value.limit) == (MAX_BITS + 1, MAX_BITS)
