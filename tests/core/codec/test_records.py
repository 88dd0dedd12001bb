"""Where records lie: by hand, against plain twins, and capture files that lie about their lengths."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import check_records, record_spans
from bitlm_core.codec import records as module
from bitlm_core.errors import CodecError, ConfigError, ResourceLimitError

EXAMPLES = settings(derandomize=True, deadline=None)


def spans(data: bytes, records: str) -> list[tuple[int, int]]:
    found = record_spans(np.frombuffer(data, np.uint8), records)
    assert found.dtype == np.int64
    assert found.shape == (len(found), 2)
    return [(int(begin), int(end)) for begin, end in found]


def capture(packets: list[bytes], *, order: str = "<", magic: int = 0xA1B2C3D4, major: int = 2) -> bytes:
    head = struct.pack(f"{order}IHHiIII", magic, major, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack(f"{order}IIII", 7, n, len(p), len(p)) + p for n, p in enumerate(packets))


def test_each_form_by_hand():
    assert spans(b"ab\ncd", "whole") == [(0, 5)]
    assert spans(b"ab\n\ncd", "lines") == [(0, 3), (3, 4), (4, 6)]
    assert spans(b"ab\n", "lines") == [(0, 3)]
    assert spans(b"abcdef", "fixed:2") == [(0, 2), (2, 4), (4, 6)]
    assert spans(capture([b"one", b"", b"four"]), "pcap") == [(40, 43), (59, 59), (75, 79)]


def test_no_bytes_are_no_records_but_the_whole():
    assert spans(b"", "whole") == [(0, 0)]
    assert spans(b"", "lines") == spans(b"", "fixed:3") == []
    assert spans(capture([]), "pcap") == []


@EXAMPLES
@given(st.binary(max_size=60).map(lambda raw: bytes(b"\na"[b & 1] for b in raw)), st.integers(1, 9))
def test_lines_are_what_splitting_gives(data, chunk):
    before, module._CHUNK = module._CHUNK, chunk
    try:
        found = [data[begin:end] for begin, end in spans(data, "lines")]
    finally:
        module._CHUNK = before
    assert found == data.splitlines(keepends=True)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_captures_of_either_byte_order_and_clock(order, magic):
    packets = [b"x" * n for n in (5, 0, 300)]
    data = capture(packets, order=order, magic=magic)
    assert [data[begin:end] for begin, end in spans(data, "pcap")] == packets


@pytest.mark.parametrize("records", ["", "line", "fixed:0", "fixed:-1", "fixed:", "fixed:1\n", "fixed:1e3", "LINES", "fixed:²"])
def test_unknown_forms_are_refused(records):
    with pytest.raises(ConfigError, match="give one of these") as caught:
        check_records(records)
    assert caught.value.value == records


def test_a_rest_is_no_record():
    with pytest.raises(CodecError, match="offset 6 has only 1") as caught:
        spans(b"1234567", "fixed:3")
    assert caught.value.offset == 6


@pytest.mark.parametrize(
    ("data", "offset", "text"),
    [
        (b"", 0, "begins with nothing"),
        (b"\x7fELF" + bytes(40), 0, "7f454c46"),
        (bytes.fromhex("0a0d0d0a") + bytes(40), 0, "editcap"),
        (capture([])[:23], 23, "23 of 24"),
        (capture([], major=3), 4, "version 3"),
        (capture([b"abc"]) + bytes(15), 43, "15 of 16"),
        (capture([b"abc"])[:-1], 24, "3 bytes follow, and 2 do"),
        (capture([b"abc"]) + struct.pack("<IIII", 0, 0, 2**32 - 1, 4), 43, "4,294,967,295 bytes follow, and 0 do"),
        (capture([b"abc"], order=">")[:32] + struct.pack("<I", 3) + bytes(7), 24, "50,331,648 bytes follow"),
    ],
)
def test_damaged_captures_are_named(data, offset, text):
    with pytest.raises(CodecError, match=text) as caught:
        spans(data, "pcap")
    assert caught.value.offset == offset


@EXAMPLES
@given(st.binary(max_size=80), st.integers(0, 100))
def test_any_damage_gives_records_inside_the_data_or_an_error(noise, at):
    data = bytearray(capture([b"abcdef", b"", b"xyz"]))
    data[at : at + len(noise)] = noise
    try:
        found = spans(bytes(data), "pcap")
    except CodecError:
        return
    edges = [0, *(place for span in found for place in span), len(data)]
    assert edges == sorted(edges)


@pytest.mark.parametrize("records", ["lines", "fixed:1", "pcap"])
def test_too_many_records_are_refused(records, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECORDS", 3)
    data = capture([b""] * 4) if records == "pcap" else b"\n" * 4
    with pytest.raises(ResourceLimitError) as caught:
        spans(data, records)
    assert (caught.value.estimate, caught.value.limit) == (4, 3)
