"""Where the records of data lie: `records` says how it is cut.

    whole      all of it is one record
    lines      one record a line, its newline (0x0A) with it; the last line may lack one
    fixed:N    N bytes each
    pcap       the bytes of each captured packet of a classic capture file, without the file's own headers

Records follow each other in the order of the data and never overlap. Those of `whole`, `lines` and `fixed` tile it. A packet
of which nothing was captured is a record of no bytes, so that record n is packet n.

A capture file is believed nothing: every length is checked against what is left before it is used.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import CodecError, ConfigError, ResourceLimitError

RECORDS_PATTERN = r"^(whole|lines|pcap|fixed:[1-9][0-9]{0,8})$"
"""What `records` may be; `check_records` says what is wrong with anything else."""
MAX_RECORDS = 1 << 24
"""So many places fit in memory (16 bytes each) beside everything else."""

_CHUNK = 1 << 22
_NEWLINE = 10
_FILE_HEADER, _PACKET_HEADER = 24, 16
_BYTE_ORDERS = {  # the first four bytes: time in micro- or nanoseconds, written by a machine of either byte order
    bytes.fromhex("a1b2c3d4"): ">",
    bytes.fromhex("a1b23c4d"): ">",
    bytes.fromhex("d4c3b2a1"): "<",
    bytes.fromhex("4d3cb2a1"): "<",
}
_PCAPNG = bytes.fromhex("0a0d0d0a")


def check_records(records: str) -> None:
    """Raise ConfigError (`value`) unless `records` is one of the four forms."""
    if not re.fullmatch(RECORDS_PATTERN, records):
        raise ConfigError(
            f"records={records[:60]!r} is none of whole, lines, pcap, and fixed:N (N up to 999999999): give one of these",
            value=records,
        )


def record_spans(data: NDArray[np.uint8], records: str) -> NDArray[np.int64]:
    """[R, 2] begin and end of each record in `data` [N].

    Raises ConfigError for an unknown form, CodecError (`offset`) for data that is not of that form, and ResourceLimitError
    for more than `MAX_RECORDS`.
    """
    check_records(records)
    if records == "whole":
        return np.array([[0, len(data)]], np.int64)
    if records == "lines":
        return _tiles(_line_ends(data))
    if records == "pcap":
        return _packets(data)
    return _tiles(_fixed_ends(len(data), int(records.removeprefix("fixed:"))))


def _tiles(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Records that follow each other without gaps, from where each ends."""
    return np.stack([np.concatenate([np.zeros(1, np.int64), ends])[:-1], ends], axis=1)


def _line_ends(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    found, count = [], 0
    for start in range(0, len(data), _CHUNK):  # a mapped file is never loaded whole
        found.append(start + 1 + np.flatnonzero(data[start : start + _CHUNK] == _NEWLINE))
        count += len(found[-1])
        _check_count(count)
    if len(data) and data[-1] != _NEWLINE:
        found.append(np.array([len(data)]))
    return np.concatenate([np.zeros(0, np.int64), *found])


def _fixed_ends(length: int, size: int) -> NDArray[np.int64]:
    rest = length % size
    if rest:
        raise CodecError(
            f"{length:,} bytes are no whole number of records of {size:,}: the one at offset {length - rest:,} has only "
            f"{rest:,}. Cut or fill it, or give another N",
            offset=length - rest,
        )
    _check_count(length // size)
    return np.arange(size, length + 1, size, dtype=np.int64)


def _packets(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Walks the headers: seconds, fraction, captured length, length on the wire."""
    order = _byte_order(bytes(data[:_FILE_HEADER]))
    captured = struct.Struct(f"{order}8xI4x")
    spans: list[tuple[int, int]] = []
    at = _FILE_HEADER
    while at < len(data):
        begin = at + _PACKET_HEADER
        if begin > len(data):
            raise _cut_short(at, f"its header has {len(data) - at} of {_PACKET_HEADER} bytes")
        (length,) = captured.unpack(bytes(data[at:begin]))
        if length > len(data) - begin:
            raise _cut_short(at, f"it says that {length:,} bytes follow, and {len(data) - begin:,} do")
        at = begin + length
        spans.append((begin, at))
        _check_count(len(spans))
    return np.array(spans, np.int64).reshape(-1, 2)


def _byte_order(header: bytes) -> str:
    if header[:4] == _PCAPNG:
        raise CodecError(
            "this is pcapng, not a classic capture file: convert it (editcap -F pcap IN OUT), or use records=whole",
            offset=0,
        )
    order = _BYTE_ORDERS.get(header[:4])
    if order is None:
        raise CodecError(
            f"the data begins with {header[:4].hex() or 'nothing'}, so it is no capture file (d4c3b2a1, a1b2c3d4, 4d3cb2a1 or "
            "a1b23c4d): give one, or other records",
            offset=0,
        )
    if len(header) < _FILE_HEADER:
        raise CodecError(
            f"the header of the capture file has {len(header)} of {_FILE_HEADER} bytes: it was cut short, copy it again",
            offset=len(header),
        )
    major = struct.unpack(f"{order}H", header[4:6])[0]
    if major != 2:
        raise CodecError(
            f"the capture file is of version {major}, only 2 is known: convert it (editcap -F pcap IN OUT)", offset=4
        )
    return order


def _cut_short(offset: int, what: str) -> CodecError:
    return CodecError(
        f"the packet at offset {offset:,} is damaged: {what}. Cut the file there, or use records=whole", offset=offset
    )


def _check_count(count: int) -> None:
    if count > MAX_RECORDS:
        raise ResourceLimitError(
            f"the data has more than {MAX_RECORDS:,} records: use a part of it, or larger records",
            estimate=count,
            limit=MAX_RECORDS,
        )
