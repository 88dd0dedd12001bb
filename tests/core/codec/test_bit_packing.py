"""Bits eight to the byte: by hand, both ways, and what is no packed bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import PackedBits, pack_bits, unpack_bits
from bitlm_core.errors import CodecError


def test_by_hand():
    packed = pack_bits([0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1])
    assert packed.data.tolist() == [0x41, 0xA0]
    assert packed.num_bits == 11
    assert pack_bits([]).data.tolist() == [] == unpack_bits(pack_bits([])).tolist()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 1), max_size=70))
def test_what_is_packed_comes_back(bits):
    packed = pack_bits(bits)
    assert len(packed.data) == -(-len(bits) // 8)
    assert unpack_bits(packed).tolist() == bits


@pytest.mark.parametrize(
    ("data", "num_bits", "facts"),
    [
        (np.zeros(2, np.int64), 9, {"dtype": "int64", "shape": (2,)}),
        (np.zeros((1, 2), np.uint8), 9, {"dtype": "uint8", "shape": (1, 2)}),
        (np.zeros(2, np.uint8), 17, {"offset": 2}),
        (np.zeros(2, np.uint8), 8, {"offset": 1}),
        (np.zeros(0, np.uint8), -1, {"offset": 0}),
        (np.array([0, 0x40], np.uint8), 9, {"offset": 1}),
    ],
)
def test_what_cannot_be_packed_bits_is_refused(data, num_bits, facts):
    with pytest.raises(CodecError) as caught:
        PackedBits(data, num_bits)
    assert caught.value.facts == facts


def test_only_bits_are_packed():
    with pytest.raises(CodecError) as caught:
        pack_bits([0, 1, 2])
    assert (caught.value.index, caught.value.value) == (2, 2)
