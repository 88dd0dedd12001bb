"""The ninth bit: hand-computed, against a plain sum, and repaired without touching the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import bits_from_digits, bits_to_bytes, bytes_to_bits, enforce_parity, parity_bits
from bitlm_core.errors import CodecError, ConfigError

# The same examples on every run; no deadline, as the first call may compile and machines are shared.
EXAMPLES = settings(derandomize=True, deadline=None)


def test_parity_bits_by_hand():
    # 0000 0000 → 0 ones, 0000 0001 → 1, 0000 0111 → 3, 0100 0001 → 2, 1111 1111 → 8
    assert parity_bits(np.array([0x00, 0x01, 0x07, 0x41, 0xFF], dtype=np.uint8)).tolist() == [0, 1, 1, 0, 0]


def test_parity_bits_of_every_byte_is_the_sum_of_its_bits():
    every_byte = np.arange(256, dtype=np.uint8)
    assert parity_bits(every_byte).tolist() == [sum(map(int, f"{byte:b}")) % 2 for byte in range(256)]


@pytest.mark.parametrize("data", [np.zeros(3), np.zeros((2, 2), dtype=np.uint8)])
def test_parity_bits_takes_only_bytes(data):
    with pytest.raises(CodecError) as caught:
        parity_bits(data)
    assert (caught.value.dtype, caught.value.shape) == (str(data.dtype), data.shape)


def test_enforce_parity_by_hand():
    given_bits = bits_from_digits("01000001_1 00000111_1 00000000_1")
    before = given_bits.copy()
    bits, changed = enforce_parity(given_bits)
    assert bits.tolist() == bits_from_digits("01000001_0 00000111_1 00000000_0").tolist()
    assert changed == 2
    assert given_bits.tolist() == before.tolist()


@EXAMPLES
@given(bits=st.lists(st.integers(0, 1), max_size=200), parity=st.sampled_from(["even", "odd"]))
def test_enforced_bits_decode_and_keep_their_data_and_tail(bits, parity):
    repaired, changed = enforce_parity(bits, strict=False, parity=parity)
    whole = len(bits) // 9 * 9
    wanted = [sum(bits[i : i + 8]) % 2 ^ (parity == "odd") for i in range(0, whole, 9)]
    assert repaired[8:whole:9].tolist() == wanted
    assert changed == sum(bits[i + 8] != w for i, w in zip(range(0, whole, 9), wanted, strict=True))
    assert repaired[whole:].tolist() == bits[whole:]
    data = np.delete(repaired[:whole], slice(8, None, 9))
    assert data.tolist() == [bit for i, bit in enumerate(bits[:whole]) if i % 9 != 8]
    assert bits_to_bytes(repaired[:whole], parity=parity).bad_groups == ()
    assert enforce_parity(repaired, strict=False, parity=parity)[1] == 0


@pytest.mark.parametrize("bit_order", ["msb", "lsb"])
def test_encoded_bytes_need_no_repair_in_either_order(bit_order):
    data = np.random.default_rng(5).bytes(1000)
    assert enforce_parity(bytes_to_bits(data, bit_order=bit_order))[1] == 0


def test_strict_refuses_a_tail():
    with pytest.raises(CodecError) as caught:
        enforce_parity([0] * 13)
    assert (caught.value.length, caught.value.group_bits) == (13, 9)


def test_enforce_parity_refuses_other_values_and_no_parity():
    with pytest.raises(CodecError) as caught:
        enforce_parity([0, 0, 3, 0, 0, 0, 0, 0, 0])
    assert (caught.value.index, caught.value.value) == (2, 3)
    with pytest.raises(ConfigError) as refused:
        enforce_parity([0] * 9, parity="none")
    assert refused.value.value == "none"
