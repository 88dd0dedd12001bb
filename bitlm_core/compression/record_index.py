"""Where each record of a container lies: found without decoding the others, and known to be undamaged without them.

    number of records, bytes per entry of each column     16 bytes
    the columns, byte plane by byte plane, deflated        lead, length, coded length of every record
    CRC-32 of each block of the coded records              4 bytes each
    CRC-32 of all before                                   4 bytes

A record has `lead` bytes before it that belong to no record (a captured packet's header). It is coded with them.
Whoever reads one record checks the blocks that it lies in. As decoding is exact, whole codes give right bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.records import MAX_RECORDS
from bitlm_core.compression.container import damaged
from bitlm_core.errors import ConfigError

BLOCK = 4096  # coded bytes under one CRC
_FRONT = struct.Struct("<Q4B4x")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class RecordIndex:
    """[R] lead, length and coded length of each record, in bytes; a code as long as lead and length is the bytes themselves.

    blocks: CRC-32 of each block of all coded bytes.
    """

    leads: NDArray[np.int64]
    lengths: NDArray[np.int64]
    coded: NDArray[np.int64]
    blocks: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.leads)

    def place(self, record: int) -> tuple[int, int]:
        """Begin and end of the code of a record. Raises ConfigError when there is no such record."""
        check_record(record, len(self))
        begin = int(self.coded[:record].sum())
        return begin, begin + int(self.coded[record])

    def check_blocks(self, codes: memoryview, begin: int, end: int) -> None:
        """Raise ContainerError unless the coded bytes from `begin` to `end` are those that were written."""
        for block in range(begin // BLOCK, -(-end // BLOCK)):
            if zlib.crc32(codes[block * BLOCK : (block + 1) * BLOCK]) != self.blocks[block]:
                raise damaged(f"the coded bytes from {block * BLOCK:,} on are not as they were written")


def check_record(record: int, count: int) -> None:
    """Raise ConfigError when there is no record of this number."""
    if not 0 <= record < count:
        raise ConfigError(f"there is no record {record:,}: the data has {count:,}, counted from 0. Ask for one of these")


def pack_index(leads: NDArray[np.int64], lengths: NDArray[np.int64], codes: list[bytes]) -> bytes:
    """The index section for the coded records."""
    coded = np.array([len(code) for code in codes], np.int64)
    columns = [_narrow(column) for column in (leads, lengths, coded)]
    planes = b"".join(column.view(np.uint8).reshape(len(column), column.itemsize).T.tobytes() for column in columns)
    whole = b"".join(codes)
    blocks = [_CRC.pack(zlib.crc32(whole[start : start + BLOCK])) for start in range(0, len(whole), BLOCK)]
    packed = zlib.compress(planes, 9)
    front = _FRONT.pack(len(codes), *(column.dtype.itemsize for column in columns), 0)
    section = b"".join([front, packed, *blocks])
    return section + _CRC.pack(zlib.crc32(section))


def read_index(section: memoryview, num_bytes: int, coded_bytes: int) -> RecordIndex:
    """The index of records that are `num_bytes` in all and `coded_bytes` coded. Raises ContainerError."""
    num_blocks = -(-coded_bytes // BLOCK)
    end = len(section) - _CRC.size - _CRC.size * num_blocks
    if end < _FRONT.size or _CRC.unpack(section[-_CRC.size :])[0] != zlib.crc32(section[: -_CRC.size]):
        raise damaged("its index is not as it was written")
    count, *sizes, _ = _FRONT.unpack(section[: _FRONT.size])
    if count > min(MAX_RECORDS, max(1, num_bytes)) or not set(sizes) <= {1, 2, 4, 8}:
        raise damaged(f"its index says {count:,} records for {num_bytes:,} bytes")
    planes = _inflated(section[_FRONT.size : end], count * sum(sizes))
    columns, at = [], 0
    for size in sizes:
        plane = np.frombuffer(planes, np.uint8, count * size, at).reshape(size, count)
        columns.append(np.ascontiguousarray(plane.T).view(f"<u{size}").reshape(count).astype(np.int64))
        at += count * size
    leads, lengths, coded = columns
    blocks = np.frombuffer(section[end : -_CRC.size], "<u4").astype(np.uint32)
    whole = leads + lengths
    for column in (leads, lengths, coded, whole):
        if (column < 0).any() or (column > max(num_bytes, coded_bytes)).any():
            raise damaged("its index holds lengths out of range")
    if whole.sum() != num_bytes or coded.sum() != coded_bytes or (coded > whole).any() or (num_bytes and (whole == 0).any()):
        raise damaged("the lengths in its index do not add up")
    return RecordIndex(leads, lengths, coded, blocks)


def _narrow(column: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
    largest = int(column.max(initial=0))
    size = next(size for size in (1, 2, 4, 8) if largest < 1 << (8 * size))
    return column.astype(f"<u{size}")


def _inflated(packed: memoryview, size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        planes = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise damaged("its index cannot be inflated") from error
    if len(planes) != size or not inflater.eof or inflater.unused_data:
        raise damaged("its index has another size than it says")
    return planes
