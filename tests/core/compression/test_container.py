"""The container: what is written is read, and nothing that a header says is believed before it is checked."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from bitlm_core.compression.container import (
    BYTES_PER_CODED_BYTE,
    DecoderLimits,
    FreshMixer,
    Header,
    TrainedModel,
    pack,
    parse,
)
from bitlm_core.errors import ContainerError, ResourceLimitError

FRESH = FreshMixer(16, 4096, {"profile": "text"}, b"abcd")
MODEL = TrainedModel(bytes(range(16)), b"12345678")
HEADERS = [
    Header("stored", 5, 123, "whole", None, (5,)),
    Header("stored", 5, 123, "fixed:5", None, (5,)),
    Header("self-contained", 1000, 0, "whole", FRESH, (3, 0, 7)),
    Header("self-contained", 1000, 0, "whole", replace(FRESH, settings={}), (3,)),
    Header("model", 10_000_000, 1 << 31, "whole", MODEL, (300,)),
    Header("records", 77, 9, "lines", replace(MODEL, probe=b""), (20, 30)),
]


def packed(header: Header) -> bytes:
    return pack(header, [bytes([i]) * size for i, size in enumerate(header.sections)])


def refused(container: bytes, reason: str, match: str) -> None:
    with pytest.raises(ContainerError, match=match) as caught:
        parse(memoryview(container))
    assert caught.value.reason == reason


@pytest.mark.parametrize("header", HEADERS)
def test_identity(header: Header) -> None:
    found, sections = parse(memoryview(packed(header)))
    assert found == header
    assert [bytes(section) for section in sections] == [bytes([i]) * size for i, size in enumerate(header.sections)]


def test_a_small_header() -> None:
    assert len(packed(HEADERS[0])) - 5 <= 32


@pytest.mark.parametrize("header", HEADERS)
def test_every_damaged_bit_of_a_header_and_every_cut_is_seen(header: Header) -> None:
    whole = packed(header)
    front = len(whole) - sum(header.sections)
    for at in range(front):
        for bit in range(8):
            bad = bytearray(whole)
            bad[at] ^= 1 << bit
            with pytest.raises(ContainerError):
                parse(memoryview(bytes(bad)))
    for size in range(len(whole)):
        with pytest.raises(ContainerError):
            parse(memoryview(whole[:size]))
    refused(whole + b"\0", "damaged", "follow its header")


def test_what_is_no_container_or_of_another_version_is_named() -> None:
    refused(b"PK\3\4 something else", "damaged", "504b0304")
    refused(b"", "damaged", "nothing")
    whole = bytearray(packed(HEADERS[0]))
    whole[4] = 2
    refused(bytes(whole), "version", "version 2")


def resigned(whole: bytes, change: dict[int, int]) -> bytes:
    """With some bytes of the header replaced and its CRC made right again: what an attacker can do."""
    out = bytearray(whole)
    for at, value in change.items():
        out[at] = value
    end = 7 + out[6]
    out[end : end + 4] = zlib.crc32(out[:end]).to_bytes(4, "little")
    return bytes(out)


def test_numbers_are_refused_before_they_are_used() -> None:
    header = HEADERS[0]
    for size in (6, 1 << 31, 1 << 60):
        refused(packed(replace(header, num_bytes=size, sections=(5,))), "damaged", "follow its header")
    many = replace(HEADERS[4], num_bytes=BYTES_PER_CODED_BYTE * 302)
    refused(packed(many), "damaged", "hold")
    whole = packed(header)
    assert parse(memoryview(resigned(whole, {})))[0] == header
    refused(resigned(whole, {7: 0x85, 8: 0x00}), "damaged", "out of range")  # 5, but not in its shortest form
    refused(resigned(whole, {5: 9}), "damaged", "kind 9")
    refused(resigned(packed(HEADERS[1]), {13: ord("x")}), "damaged", "form of records")


def test_limits_of_a_reader() -> None:
    DecoderLimits(num_bytes=1000, memory_mib=48).check(HEADERS[2])
    with pytest.raises(ResourceLimitError, match="1,000 bytes") as caught:
        DecoderLimits(num_bytes=999).check(HEADERS[2])
    assert (caught.value.estimate, caught.value.limit) == (1000, 999)
    with pytest.raises(ResourceLimitError, match="48 MiB") as caught:
        DecoderLimits(memory_mib=47).check(HEADERS[2])
    assert (caught.value.estimate, caught.value.limit) == (48, 47)
    with pytest.raises(ResourceLimitError, match="64 MiB"):
        DecoderLimits(memory_mib=63).check(HEADERS[4], lane_mib=64)
