"""The index of records: compact, exact, and suspicious."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from bitlm_core.compression.record_index import BLOCK, pack_index, read_index
from bitlm_core.errors import ContainerError
from tests.core.compression.samples import noise

SIZES = [3, 0, 5000, 70_000, 1]
LEADS = np.array([16, 16, 0, 0, 2], np.int64)
LENGTHS = np.array([200, 1, 5001, 80_000, 1], np.int64)
CODES = [noise(size, size) for size in SIZES]
WHOLE = b"".join(CODES)
TOTAL = int((LEADS + LENGTHS).sum())
SECTION = pack_index(LEADS, LENGTHS, CODES)


def test_identity_and_places() -> None:
    index = read_index(memoryview(SECTION), TOTAL, len(WHOLE))
    np.testing.assert_array_equal(index.leads, LEADS)
    np.testing.assert_array_equal(index.lengths, LENGTHS)
    assert [WHOLE[slice(*index.place(i))] for i in range(5)] == CODES
    empty = read_index(memoryview(pack_index(np.zeros(0, np.int64), np.zeros(0, np.int64), [])), 0, 0)
    assert len(empty) == 0


def test_a_thousand_similar_records_take_little() -> None:
    lengths = np.full(1000, 120, np.int64)
    assert len(pack_index(np.zeros(1000, np.int64), lengths, [b"x" * 12] * 1000)) < 150


def test_only_the_blocks_of_a_record_are_checked() -> None:
    index = read_index(memoryview(SECTION), TOTAL, len(WHOLE))
    bad = bytearray(WHOLE)
    bad[3 * BLOCK] ^= 1
    for begin, end, good in ((0, BLOCK, True), (2 * BLOCK, 3 * BLOCK, True), (3 * BLOCK, 3 * BLOCK + 1, False)):
        if good:
            index.check_blocks(memoryview(bad), begin, end)
        else:
            with pytest.raises(ContainerError):
                index.check_blocks(memoryview(bad), begin, end)


def test_any_change_is_seen() -> None:
    for at in range(len(SECTION)):
        bad = bytearray(SECTION)
        bad[at] ^= 1
        with pytest.raises(ContainerError):
            read_index(memoryview(bad), TOTAL, len(WHOLE))
    for size in range(len(SECTION)):
        with pytest.raises(ContainerError):
            read_index(memoryview(SECTION[:size]), TOTAL, len(WHOLE))


def forged(count: int, sizes: tuple[int, int, int], planes: bytes, coded_bytes: int) -> bytes:
    section = struct.pack("<Q4B4x", count, *sizes, 0) + zlib.compress(planes) + bytes(4 * -(-coded_bytes // BLOCK))
    return section + zlib.crc32(section).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("count", "sizes", "planes"),
    [
        (1 << 60, (1, 1, 1), b""),
        (9, (1, 1, 1), bytes(27)),
        (2, (3, 1, 1), bytes(10)),
        (2, (1, 1, 1), bytes(1 << 20)),
        (2, (1, 1, 1), bytes(5)),
        (1, (8, 8, 8), b"\xff" * 24),
        (2, (1, 1, 1), bytes([0, 0, 8, 0, 1, 1])),  # a record of nothing
        (2, (1, 1, 1), bytes([0, 0, 4, 4, 5, 0])),  # a code larger than its record
        (2, (1, 1, 1), bytes([0, 0, 4, 3, 1, 1])),  # lengths that do not add up
    ],
)
def test_forged_indexes_are_refused(count: int, sizes: tuple[int, int, int], planes: bytes) -> None:
    coded = 5 if planes[-2:] == b"\5\0" else 2
    with pytest.raises(ContainerError):
        read_index(memoryview(forged(count, sizes, planes, coded)), 8, coded)


def test_a_forged_index_that_adds_up_is_read() -> None:
    assert len(read_index(memoryview(forged(2, (1, 1, 1), bytes([0, 0, 4, 4, 1, 1]), 2)), 8, 2)) == 2
