"""K, C, S: one hand-computed value each, their ends, their ranges, and what they refuse."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import bits_from_digits, bytes_to_bits
from bitlm_core.errors import CodecError, ConfigError
from bitlm_core.telemetry import (
    SequenceMetrics,
    byte_histogram,
    composite_score,
    lz_complexity,
    measure_bits,
    negentropy_of_bits,
    negentropy_of_logits,
    symbiosis,
    symbiosis_by_position,
    symbiosis_kl,
    transition_rate,
)

# The same examples on every run; no deadline, as the first call may compile and machines are shared.
EXAMPLES = settings(derandomize=True, deadline=None)

BIT_LISTS = st.lists(st.integers(0, 1), max_size=200)
COUNTS = st.lists(st.floats(0, 1e9), min_size=4, max_size=4).filter(any)


def test_negentropy_of_logits_by_hand():
    # p = ¾ (z = ln 3): H = 2 − ¾·log2 3 bits, so 1 − H = ¾·log2 3 − 1. A coin (z = 0) has K = 0; the mean halves it.
    k = 0.75 * math.log2(3) - 1
    assert negentropy_of_logits([math.log(3)]) == pytest.approx(k, abs=1e-15)
    assert negentropy_of_logits([[math.log(3)], [0.0]]) == pytest.approx(k / 2, abs=1e-15)


def test_negentropy_of_logits_at_its_ends():
    assert negentropy_of_logits(np.zeros((2, 3), dtype=np.float32)) == 0.0
    assert negentropy_of_logits([1e300, -1e300, math.inf, -math.inf, 40.0]) == pytest.approx(1.0, abs=1e-15)
    assert negentropy_of_logits([2.5]) == negentropy_of_logits([-2.5])


@EXAMPLES
@given(z=st.floats(-30, 30))
def test_negentropy_of_logits_is_the_textbook_entropy(z):
    p = 1 / (1 + math.exp(-z))
    entropy = -sum(x * math.log2(x) for x in (p, 1 - p) if x > 0)
    assert negentropy_of_logits([z]) == pytest.approx(1 - entropy, abs=1e-10)


@pytest.mark.parametrize(("logits", "size", "nan"), [([], 0, 0), ([0.0, math.nan], 2, 1)])
def test_negentropy_of_logits_refuses_nothing_and_nan(logits, size, nan):
    with pytest.raises(ConfigError) as caught:
        negentropy_of_logits(logits)
    assert (caught.value.size, caught.value.nan) == (size, nan)


def test_negentropy_of_bits_by_hand():
    # Blocks 00 00 01 11, tail 1: p = ½, ¼, ¼, H = 1.5 bits of 2.
    bits = bits_from_digits("00 00 01 11 1")
    assert negentropy_of_bits(bits, 2) == pytest.approx(0.25, abs=1e-15)
    assert negentropy_of_bits(bits_from_digits("01"), 1) == 0.0
    assert negentropy_of_bits([1] * 50, 16) == 1.0


def test_negentropy_of_bits_of_all_bytes_once_is_zero():
    assert negentropy_of_bits(bytes_to_bits(bytes(range(256)), parity="none"), 8) == 0.0


def test_negentropy_of_bits_refuses():
    for k in (0, 17):
        with pytest.raises(ConfigError) as caught:
            negentropy_of_bits([0, 1], k)
        assert (caught.value.k, caught.value.limit) == (k, 16)
    with pytest.raises(ConfigError) as caught:
        negentropy_of_bits([0, 1], 3)
    assert (caught.value.length, caught.value.k) == (2, 3)
    with pytest.raises(CodecError):
        negentropy_of_bits([0, 2], 1)


def test_lz_complexity_by_hand():
    # 2 phrases in 64 zeros: 2·6/64. The 6 phrases in 16 bits give 6·4/16 = 1.5, clipped.
    assert lz_complexity([0] * 64) == 2 * 6 / 64
    assert lz_complexity(bits_from_digits("0001101001000101")) == 1.0
    assert lz_complexity([]) == lz_complexity([1]) == 0.0


def test_lz_complexity_sees_what_the_transition_rate_does_not():
    alternating = np.resize(np.array([0, 1], dtype=np.uint8), 4608)
    assert transition_rate(alternating) == 1.0
    assert lz_complexity(alternating) < 0.01
    assert lz_complexity(np.random.default_rng(3).integers(0, 2, size=4608)) == 1.0


def test_transition_rate_by_hand():
    assert transition_rate(bits_from_digits("00110")) == 0.5
    assert transition_rate([]) == transition_rate([1]) == 0.0


@EXAMPLES
@given(bits=BIT_LISTS)
def test_sequence_metrics_stay_in_range(bits):
    assert 0 <= lz_complexity(bits) <= 1
    assert 0 <= transition_rate(bits) <= 1
    if len(bits) >= 3:
        assert 0 <= negentropy_of_bits(bits, 3) <= 1


def test_byte_histogram_by_hand():
    counts = byte_histogram(b"aba\xff")
    assert counts.dtype == np.float64
    assert {value: counts[value] for value in np.flatnonzero(counts).tolist()} == {97: 2.0, 98: 1.0, 255: 1.0}
    assert byte_histogram(b"").shape == (256,)


def test_symbiosis_by_hand():
    # q = (1, 0), r = (½, ½), m = (¾, ¼): JSD = ½ ln(4/3) + ½ (½ ln(2/3) + ½ ln 2) = ½ ln(4/3) + ¼ ln(4/3) = ¾ ln(4/3).
    assert symbiosis([1, 0], [5, 5]) == pytest.approx(1 - 0.75 * math.log(4 / 3) / math.log(2), abs=1e-15)
    assert symbiosis([3, 1], [6, 2]) == 1.0
    assert symbiosis([1, 0], [0, 9]) == 0.0


@EXAMPLES
@given(q=COUNTS, r=COUNTS)
def test_symbiosis_is_symmetric_and_in_range(q, r):
    s = symbiosis(q, r)
    assert 0 <= s <= 1
    assert s == pytest.approx(symbiosis(r, q), abs=1e-12)
    assert symbiosis_kl(q, r) >= 0


def test_symbiosis_kl_by_hand():
    # Counts (3, 0) and (0, 1): (3.5, 0.5)/4 and (0.5, 1.5)/2. KL = ⅞ ln(⅞ / ¼) + ⅛ ln(⅛ / ¾).
    wanted = 7 / 8 * math.log(7 / 2) + 1 / 8 * math.log(1 / 6)
    assert symbiosis_kl([3, 0], [0, 1]) == pytest.approx(wanted, abs=1e-15)
    assert symbiosis_kl([3, 0], [3, 0]) == 0.0


@pytest.mark.parametrize("measure", [symbiosis, symbiosis_kl])
@pytest.mark.parametrize("bad", [[0, 0], [-1, 2], [math.nan, 1], [math.inf, 1], [math.inf, -math.inf], [1e308, 1e308]])
def test_distributions_that_are_none(measure, bad):
    with pytest.raises(ConfigError) as caught:
        measure([1, 1], bad)
    assert caught.value.which == "r"
    with pytest.raises(ConfigError) as caught:
        measure(bad, [1, 1])
    assert caught.value.which == "q"


def test_distributions_of_different_length_or_none():
    with pytest.raises(ConfigError) as caught:
        symbiosis([1, 2], [1, 2, 3])
    assert (caught.value.q_shape, caught.value.r_shape) == ((2,), (3,))
    with pytest.raises(ConfigError):
        symbiosis([], [])


def test_composite_score_by_hand():
    assert composite_score(0.2, 0.6, 1.0, (1, 1, 2)) == pytest.approx((0.2 + 0.6 + 2.0) / 4, abs=1e-15)
    assert composite_score(0.2, 0.6, 1.0, (0, 3, 0)) == 0.6
    assert composite_score(0.5, 0.5, 0.5, (1e308, 1e308, 1e308)) == 0.5


@pytest.mark.parametrize("lambdas", [(0, 0, 0), (1, -1, 1), (1, 1), (1, math.nan, 1), (math.inf, 1, 1)])
def test_composite_score_refuses_weights(lambdas):
    with pytest.raises(ConfigError) as caught:
        composite_score(0.1, 0.2, 0.3, lambdas)
    assert caught.value.lambdas == lambdas


def test_composite_score_refuses_a_metric_that_is_no_number():
    with pytest.raises(ConfigError) as caught:
        composite_score(0.1, math.nan, 0.3, (1, 1, 1))
    assert math.isnan(caught.value.values[1])


def test_measure_bits_by_hand():
    # "AB" = 01000001_0 01000010_0 with the second parity bit flipped; two different bytes: H = 1 bit of 8.
    bits = bits_from_digits("01000001_0 01000010_1")
    # A and B once each against twice each, half a count added to all 256: p = 1.5/130 and 0.5/130, r = 2.5/132 and 0.5/132.
    kl = 2 * 1.5 / 130 * math.log(1.5 / 130 / (2.5 / 132)) + 254 * 0.5 / 130 * math.log(132 / 130)
    assert measure_bits(bits, byte_histogram(b"ABBA")) == SequenceMetrics(
        k=0.875, c=1.0, s=1.0, transition_rate=9 / 17, valid_groups=0.5, symbiosis_kl=pytest.approx(kl), parity_failures=1
    )
    # Blocks of 4 bits: 4 1 4 2, H = 1.5 bits of 4.
    assert measure_bits(bits, byte_histogram(b"ABBA"), k=4).k == 0.625


def test_symbiosis_by_position_is_the_mean_of_each_place():
    # Equal at the first place, disjoint at the second; the mean distributions alone would be equal.
    q, r = [[1, 0], [0, 1], [1, 0]], [[1, 0], [1, 0], [0, 1]]
    assert symbiosis_by_position(q, r) == pytest.approx(1 / 3)
    for wrong in ([[1, 0]], [1, 0], np.zeros((0, 2))):
        with pytest.raises(ConfigError) as caught:
            symbiosis_by_position(wrong, r if len(wrong) else wrong)
        assert caught.value.q_shape == np.shape(wrong)


def test_measure_bits_without_parity_has_only_valid_groups():
    metrics = measure_bits(bytes_to_bits(b"abc", parity="none"), byte_histogram(b"xyz"), parity="none")
    assert (metrics.s, metrics.valid_groups) == (0.0, 1.0)


def test_measure_bits_needs_a_group():
    with pytest.raises(ConfigError) as caught:
        measure_bits([0] * 8, byte_histogram(b"a"))
    assert caught.value.length == 0


def entropy_by_definition(probs: list[Fraction]) -> float:
    return -sum(float(p) * math.log(p) for p in probs if p)


@EXAMPLES
@given(q=st.lists(st.integers(0, 50), min_size=3, max_size=6), r=st.lists(st.integers(0, 50), min_size=3, max_size=6))
def test_s_is_the_jensen_shannon_divergence_by_its_other_formula(q, r):
    """An oracle of its own: JSD = H((q + r)/2) - (H(q) + H(r))/2 in exact fractions; the code sums relative entropies."""
    size = min(len(q), len(r))
    q, r = q[:size], r[:size]
    if not (any(q) and any(r)):
        return
    p, s = ([Fraction(count, sum(counts)) for count in counts] for counts in (q, r))
    middle = [(one + other) / 2 for one, other in zip(p, s, strict=True)]
    divergence = entropy_by_definition(middle) - (entropy_by_definition(p) + entropy_by_definition(s)) / 2
    assert symbiosis(q, r) == pytest.approx(1 - divergence / math.log(2), abs=1e-12)


@EXAMPLES
@given(bits=st.lists(st.integers(0, 1), min_size=4, max_size=120), k=st.integers(1, 4))
def test_k_of_bits_is_the_entropy_of_their_blocks(bits, k):
    """An oracle of its own: blocks as strings, counted one by one, probabilities in exact fractions."""
    blocks = ["".join(map(str, bits[at : at + k])) for at in range(0, len(bits) - k + 1, k)]
    probs = [Fraction(blocks.count(block), len(blocks)) for block in set(blocks)]
    expected = 1 - entropy_by_definition(probs) / (k * math.log(2))
    assert negentropy_of_bits(bits, k) == pytest.approx(expected, abs=1e-12)
