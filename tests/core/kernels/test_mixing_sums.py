"""What the sums of a record's words tell of its check sum."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_layout import SUM
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import Profile

CONFIG = MixingConfig(memory_mib=8, history_bytes=4096)
CHECK_SUM = slice(24, 26)
"""Where the IPv4 header in an Ethernet frame has its own."""


def ones_complement(words: bytes) -> int:
    """As RFC 1071 has it: the sum in full, then folded."""
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def frame(identifier: int, host: int, wrong: int | None) -> NDArray[np.uint8]:
    """A packet of 20 bytes of header behind 14 of frame, with its check sum or a wrong one."""
    header = struct.pack(">BBHHHBBHII", 0x45, 0, 40, identifier, 0, 64, 6, 0, 0x0A000001, 0x0A000000 + host)
    check = 0xFFFF - ones_complement(header) if wrong is None else wrong
    return np.frombuffer(bytes(12) + b"\x08\x00" + header[:10] + struct.pack(">H", check) + header[12:], np.uint8)


def cost_of_check_sums(*, right: bool, kind: Profile) -> float:
    """Mean bits of the two bytes of the last 40 of 200 packets, each predicted before it is learned."""
    rng = np.random.default_rng(0)
    mixer, costs = ContextMixer(CONFIG, kind), []
    for identifier, wrong in rng.integers(0, 65_536, (200, 2)).tolist():
        data = frame(identifier, int(rng.integers(1, 3)), None if right else wrong)
        mixer.start_document()
        logits = mixer.read(data)
        signed = np.where(np.unpackbits(data[:, None], axis=1) == 1, logits, -logits)
        costs.append(np.logaddexp(0, -signed)[CHECK_SUM].sum() / np.log(2))
    return float(np.mean(costs[-40:]))


def test_a_right_check_sum_is_foreseen_and_a_wrong_one_costs_what_random_bytes_do() -> None:
    records = Profile(kind="records")
    assert cost_of_check_sums(right=True, kind=records) < 4  # one of the bits says which of two hosts comes
    assert cost_of_check_sums(right=False, kind=records) > 15


def test_data_with_rows_has_no_sums() -> None:
    assert cost_of_check_sums(right=True, kind=Profile(kind="records", period=34)) > 8


@pytest.mark.parametrize("length", [0, 1, 2, 7, 34])
def test_the_sum_is_that_of_the_whole_words_so_far(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    mixer = ContextMixer(CONFIG, Profile(kind="records"))
    mixer.read(data)
    words = data[: length // 2 * 2].tobytes()
    assert mixer.own_arrays["context"][SUM] == ones_complement(words) % 65_535
    mixer.start_document()
    assert mixer.own_arrays["context"][SUM] == 0


def test_a_sum_of_only_ones_stands_for_zero() -> None:
    mixer = ContextMixer(CONFIG, Profile(kind="records"))
    mixer.read(np.full(4, 255, np.uint8))
    assert mixer.own_arrays["context"][SUM] == 0
