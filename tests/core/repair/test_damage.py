"""Where damage is: ranges, parity, suspicion; and what of it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from samples import LINES, learned, lines, run

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.errors import ConfigError
from bitlm_core.repair.damage import BIT_ERRORS, damaged_ranges, failed_parity, packed_groups
from bitlm_core.repair.suspicion import suspected_steps


def test_ranges_may_touch_and_overlap() -> None:
    found = damaged_ranges(lines(), [[9, 2], [0, 1], (10, 3)])
    assert found.places.tolist() == [0, 9, 10, 11, 12] and found.certain
    assert not found.weights.any()


@pytest.mark.parametrize("wrong", [[-1, 1], [0, 0], [len(LINES), 1], [0, len(LINES) + 1], [3], [1, 2, 3]])
def test_a_range_that_there_is_not_is_refused(wrong: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"is no range \[offset, length\] within the 2,5"):
        damaged_ranges(lines(), [[0, 1], wrong])
    with pytest.raises(ConfigError, match="0 ranges"):
        damaged_ranges(lines(), [])


def test_groups_whose_parity_fails_are_found() -> None:
    bits = bytes_to_bits(b"some text")
    bits[[9 + 3, 4 * 9 + 8, 6 * 9, 6 * 9 + 1]] ^= 1  # a data bit, a parity bit, and two bits, which nobody sees
    found = failed_parity(np.packbits(bits))
    assert found.places.tolist() == [1, 4] and found.certain
    assert bytes(found.data[:2]) == b"s" + bytes([ord("o") ^ 0x10])
    assert packed_groups(np.frombuffer(b"some text", np.uint8)) == np.packbits(bytes_to_bits(b"some text")).tobytes()
    with pytest.raises(ConfigError, match="8 bits hold no group"):
        failed_parity(np.zeros(1, np.uint8))


def test_three_flipped_bits_weigh_more_than_one() -> None:
    weights = failed_parity(np.packbits(bytes_to_bits(b"x"))).weights
    once = np.log((1 - BIT_ERRORS) / BIT_ERRORS)
    # The byte itself: the parity bit alone is wrong. Two data bits: it is wrong as well.
    assert weights[0, [0, 1, 3, 7, 15]] == pytest.approx([0, 0, 2 * once, 2 * once, 4 * once])


def test_the_most_surprising_bytes_are_suspected() -> None:
    data = lines()
    data[[700, 1500]] = 1
    found = run(suspected_steps(None, learned(), data, 4, adaptive=False, margin_bits=10))
    assert {700, 1500} <= set(found.places.tolist()) and len(found.places) == 4 and not found.certain
    assert found.weights[1, 1] == 0 and found.weights[1, 2] == pytest.approx(10 * np.log(2))
    for count, margin in ((0, 1.0), (1, -1.0), (1, 1001.0), (1, float("nan"))):
        with pytest.raises(ConfigError, match="margin_bits"):
            run(suspected_steps(None, learned(), data, count, adaptive=False, margin_bits=margin))
