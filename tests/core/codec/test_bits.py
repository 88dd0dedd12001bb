"""Bytes, text and digits to bits and back: identity over hostile inputs, one hand-computed vector per function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import (
    DecodedBytes,
    DecodedText,
    as_bits,
    bits_from_digits,
    bits_to_bytes,
    bits_to_text,
    bytes_to_bits,
    text_to_bits,
)
from bitlm_core.errors import CodecError, ConfigError, ParityError

# The same examples on every run; no deadline, as the first call may compile and machines are shared.
EXAMPLES = settings(derandomize=True, deadline=None)

PARITIES = st.sampled_from(["even", "odd", "none"])
ORDERS = st.sampled_from(["msb", "lsb"])

# 0x41 "A" = 0100 0001, two ones: even parity 0. 0x07 = 0000 0111, three ones: even parity 1.
A_EVEN = "01000001 0"
SEVEN_EVEN = "00000111 1"


@pytest.mark.parametrize(
    ("parity", "bit_order", "digits"),
    [
        ("even", "msb", "01000001_0 00000111_1"),
        ("odd", "msb", "01000001_1 00000111_0"),
        ("none", "msb", "01000001 00000111"),
        ("even", "lsb", "10000010_0 11100000_1"),
        ("none", "lsb", "10000010 11100000"),
    ],
)
def test_bytes_to_bits_by_hand(parity, bit_order, digits):
    bits = bytes_to_bits(b"A\x07", parity=parity, bit_order=bit_order)
    assert bits.dtype == np.uint8
    assert bits.tolist() == [int(digit) for digit in digits if digit in "01"]


def test_bits_to_bytes_by_hand():
    assert bits_to_bytes(bits_from_digits(A_EVEN + SEVEN_EVEN)) == DecodedBytes(b"A\x07")


def test_text_by_hand():
    # "é" is C3 A9 in UTF-8: 1100 0011 (four ones) and 1010 1001 (four ones).
    bits = text_to_bits("é")
    assert bits.tolist() == bits_from_digits("11000011_0 10101001_0").tolist()
    assert bits_to_text(bits) == DecodedText("é")


def test_digits_by_hand():
    assert bits_from_digits(" 01_1\n0\t").tolist() == [0, 1, 1, 0]
    assert bits_from_digits("").size == 0


@EXAMPLES
@given(data=st.binary(max_size=300), parity=PARITIES, bit_order=ORDERS)
def test_bytes_round_trip(data, parity, bit_order):
    bits = bytes_to_bits(data, parity=parity, bit_order=bit_order)
    assert bits.size == len(data) * (8 if parity == "none" else 9)
    for errors in ("strict", "replace", "report"):
        assert bits_to_bytes(bits, parity=parity, bit_order=bit_order, errors=errors) == DecodedBytes(data)


@EXAMPLES
@given(text=st.text(max_size=100), parity=PARITIES, bit_order=ORDERS)
def test_text_round_trip(text, parity, bit_order):
    bits = text_to_bits(text, parity=parity, bit_order=bit_order)
    for errors in ("strict", "replace", "report"):
        assert bits_to_text(bits, parity=parity, bit_order=bit_order, errors=errors) == DecodedText(text)


@EXAMPLES
@given(bits=st.lists(st.integers(0, 1), max_size=100))
def test_digits_round_trip(bits):
    assert bits_from_digits("".join(map(str, bits))).tolist() == bits


@EXAMPLES
@given(data=st.binary(min_size=1, max_size=40), parity=st.sampled_from(["even", "odd"]), seed=st.integers(0, 2**32))
def test_every_single_flip_is_found_and_localised(data, parity, seed):
    bits = bytes_to_bits(data, parity=parity)
    flipped = int(np.random.default_rng(seed).integers(bits.size))
    bits[flipped] ^= 1
    with pytest.raises(ParityError) as caught:
        bits_to_bytes(bits, parity=parity)
    assert caught.value.groups == (flipped // 9,)


def test_replace_and_report_continue_past_damage():
    bits = bytes_to_bits(b"ABC")
    bits[9 + 6] ^= 1  # "B" 0100 0010 → 0100 0000 "@"
    damaged = np.append(bits, [1, 0]).astype(np.uint8)
    assert bits_to_bytes(damaged, errors="replace") == DecodedBytes(b"A?C", (1,), 2)
    assert bits_to_bytes(damaged, errors="report") == DecodedBytes(b"A@C", (1,), 2)
    assert bits_to_text(damaged, errors="replace") == DecodedText("A?C", (1,), 2, 0)


def test_strict_names_the_tail():
    with pytest.raises(CodecError) as caught:
        bits_to_bytes([0] * 10)
    assert (caught.value.length, caught.value.group_bits) == (10, 9)


def test_parity_error_lists_eight_groups_and_holds_all():
    bits = bytes_to_bits(bytes(20))
    bits[8::9] = 1
    with pytest.raises(ParityError, match=r"20 of 20 groups .*\(groups 0, 1, 2, 3, 4, 5, 6, 7, …\)") as caught:
        bits_to_bytes(bits)
    assert caught.value.groups == tuple(range(20))


@pytest.mark.parametrize("errors", ["strict", "replace", "report"])
@pytest.mark.parametrize("value", [2, -1, 255, 2**40])
def test_values_other_than_bits_are_refused_in_every_mode(errors, value):
    with pytest.raises(CodecError) as caught:
        bits_to_bytes([0, 1, 0, value, 1, 0, 0, 0, 7], errors=errors)
    assert (caught.value.index, caught.value.value) == (3, value)


def test_as_bits_accepts_what_holds_bits_and_nothing_else():
    exact = np.array([1, 0], dtype=np.uint8)
    assert as_bits(exact) is exact
    assert as_bits(np.array([True, False])).tolist() == [1, 0]
    assert as_bits([]).dtype == np.uint8
    with pytest.raises(CodecError) as caught:
        as_bits([[0, 1]])
    assert caught.value.shape == (1, 2)
    with pytest.raises(CodecError) as caught:
        as_bits([0.0, 1.0])
    assert caught.value.dtype == "float64"


def test_text_that_utf8_cannot_hold():
    with pytest.raises(CodecError) as caught:
        text_to_bits("ab\ud800")
    assert caught.value.index == 2


def test_bytes_that_are_not_utf8():
    bits = bytes_to_bits("x\ufffd".encode() + b"\xff")
    with pytest.raises(CodecError) as caught:
        bits_to_text(bits)
    assert caught.value.offset == 4
    assert bits_to_text(bits, errors="report") == DecodedText("x\ufffd\ufffd", bad_characters=1)


@EXAMPLES
@given(data=st.binary(max_size=60))
def test_bad_characters_are_those_that_python_replaces(data):
    decoded = bits_to_text(bytes_to_bits(data), errors="report")
    assert decoded.text == data.decode("utf-8", "replace")
    genuine = data.decode("utf-8", "ignore").count("\ufffd")
    assert decoded.bad_characters == decoded.text.count("\ufffd") - genuine


@pytest.mark.parametrize(("digits", "index", "character"), [("01x", 2, "x"), ("2", 0, "2"), ("0 ١", 2, "١")])
def test_foreign_digits(digits, index, character):
    with pytest.raises(CodecError) as caught:
        bits_from_digits(digits)
    assert (caught.value.index, caught.value.character) == (index, character)


@pytest.mark.parametrize("options", [{"parity": "mark"}, {"bit_order": "big"}, {"errors": "ignore"}])
def test_unknown_options(options):
    with pytest.raises(ConfigError) as caught:
        bits_to_bytes([], **options)
    assert caught.value.value == next(iter(options.values()))
