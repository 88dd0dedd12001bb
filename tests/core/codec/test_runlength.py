"""Run lengths: by hand, against a plain twin, at the limits of what a run holds, and streams that are not what was written."""

from __future__ import annotations

import zlib
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import (
    compress_bits,
    compress_packed,
    compress_rows,
    compression_ratio,
    decompress_bits,
    decompress_packed,
    decompress_rows,
    pack_bits,
)
from bitlm_core.codec import runlength as module
from bitlm_core.codec.runlength import LONGEST_RUN
from bitlm_core.errors import CodecError, ResourceLimitError, RunLengthError

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60)
LENGTHS = st.one_of(st.integers(1, 5), st.sampled_from([126, 127, 128, 129, 255, 256, 257]), st.integers(1, 900))
RUNS = st.lists(LENGTHS, max_size=30)
NOISE = st.binary(max_size=60).map(lambda data: np.unpackbits(np.frombuffer(data, np.uint8)))
EDGES = [*range(1, 20), *(k * LONGEST_RUN + more for k in (1, 2, 3) for more in (-1, 0, 1)), 65_535, 65_536, 65_537]


def bits_of(runs: list[int], first: int = 0) -> np.ndarray:
    return np.repeat((np.arange(len(runs)) + first) % 2, runs).astype(np.uint8)


def overhead(num_bits: int, check: bool = True) -> int:
    """1 byte of flags and the header: the count, and the checksum."""
    return 1 + -(-num_bits.bit_length() // 8) + 4 * check if num_bits else 0


def plain_runs(bits: np.ndarray) -> bytes:
    out = bytearray()
    for value, group in groupby(bits.tolist()):
        length = len(list(group))
        while length:
            piece = min(length, LONGEST_RUN)
            out.append(value << 7 | piece - 1)
            length -= piece
    return bytes(out)


def plain_stream(bits: np.ndarray) -> bytes:
    """The twin: what the head of the module says, bit by bit."""
    if not len(bits):
        return b""
    runs, packed = plain_runs(bits), np.packbits(bits).tobytes()
    body = runs if len(runs) < len(packed) else packed
    width = overhead(len(bits), check=False) - 1
    front = bytes([(body is runs) | 2 | (width - 1) << 2]) + len(bits).to_bytes(width, "little")
    return front + zlib.crc32(front + body).to_bytes(4, "little") + body


def check_all(bits: np.ndarray) -> None:
    stream = compress_bits(bits)
    assert stream.dtype == np.uint8 and stream.tobytes() == plain_stream(bits)
    for check in (True, False):
        shorter = compress_bits(bits, check=check)
        assert len(shorter) <= -(-len(bits) // 8) + overhead(len(bits), check)
        assert np.array_equal(decompress_bits(shorter), bits)
    packed = pack_bits(bits)
    assert np.array_equal(compress_packed(packed), stream)
    assert np.array_equal(decompress_packed(stream).data, packed.data)


def test_by_hand():
    bits = np.repeat([1, 0, 1], [3, 130, 2]).astype(np.uint8)
    assert compress_bits(bits, check=False).tolist() == [0b00000_1, 135, 0x82, 0x7F, 0x01, 0x81]
    assert compress_bits([0, 1, 1], check=False).tolist() == [0, 3, 0b0110_0000]
    assert compress_bits([]).tolist() == [] == decompress_bits(b"").tolist()


@EXAMPLES
@given(RUNS, st.integers(0, 1))
def test_runs_of_any_length_come_back(runs, first):
    check_all(bits_of(runs, first))


@EXAMPLES
@given(RUNS, st.integers(0, 1), st.sampled_from([1, 2, 7]))
def test_runs_go_on_across_the_parts_that_are_worked_on_at_once(runs, first, chunk):
    bits = bits_of(runs, first)
    before, module._CHUNK = module._CHUNK, chunk
    try:
        check_all(bits)
    finally:
        module._CHUNK = before


@EXAMPLES
@given(NOISE, st.integers(0, 7))
def test_any_bits_come_back(bits, cut):
    check_all(bits[: max(0, len(bits) - cut)])


@pytest.mark.parametrize("length", EDGES)
def test_adversarial_bits_come_back(length):
    alternating = (np.arange(length) % 2).astype(np.uint8)
    # As many runs as packed bytes, one fewer, one more: where the one form passes into the other.
    eighths = [bits_of([8] * (length // 8 + more) + [1]) for more in (-1, 0, 1) if length >= 8]
    for bits in (alternating, 1 - alternating, np.zeros(length, np.uint8), np.ones(length, np.uint8), *eighths):
        check_all(bits)


def test_rows_are_as_each_alone():
    random = np.random.default_rng(0)
    rows = (random.random((6, 300)) < np.array([[0], [0.002], [0.03], [0.1], [0.5], [1]])).astype(np.uint8)
    for check in (True, False):
        streams = compress_rows(rows, check=check)
        assert [stream.tobytes() for stream in streams] == [compress_bits(row, check=check).tobytes() for row in rows]
        assert np.array_equal(decompress_rows(streams), rows)
    assert decompress_rows(compress_rows(np.zeros((3, 0), np.uint8))).shape == (3, 0)
    assert decompress_rows([]).shape == (0, 0)


def test_the_ratio_is_of_bits_to_bits():
    assert compression_ratio(len(compress_bits(np.zeros(8000, np.uint8), check=False)), 8000) == 8 * (3 + 63) / 8000
    assert np.isnan(compression_ratio(0, 0))


SPARSE = bits_of([200, 3, 500, 1, 90])
STREAM = compress_bits(SPARSE, check=False).tobytes()  # flags, count (2), then runs 128 72 3 128 128 128 116 1 90


@pytest.mark.parametrize(
    ("stream", "offset", "text"),
    [
        (b"\xff" + STREAM[1:], 0, "flags are below 0x20"),
        (STREAM[:1], 1, "header takes 3 bytes"),
        (STREAM[:3], 3, "header takes 3 bytes"),
        (b"\x05\x00\x00\x00", 2, "0 bits are counted"),
        (b"\x04\x01\x00\x80", 2, "1 bits are counted in 2 bytes"),
        (STREAM[:3] + b"\x03\x05" + STREAM[3:], 4, "a run goes on"),
        (STREAM[:-1], len(STREAM) - 1, "ends after 704 of 794"),
        (STREAM + b"\x80", len(STREAM), "go beyond the 794"),
        (STREAM[:6] + b"\xff" + STREAM[7:], 6, "a run goes on"),
        (b"\x04" + STREAM[1:], len(STREAM), "794 bits are 100 bytes, and 9 follow"),
        (b"\x00\x03\x60\x00", 3, "3 bits are 1 bytes, and 2 follow"),
        (b"\x00\x03\x61", 2, "bits are set behind the last"),
        (b"\x1d" + b"\xff" * 8 + b"\x00", 10, "ends after 1 of 18,446,744,073,709,551,615"),
    ],
)
def test_damage_is_told_with_its_place(stream, offset, text):
    with pytest.raises(RunLengthError, match=text) as caught:
        decompress_bits(stream, max_bits=1 << 64)
    assert caught.value.offset == offset
    assert f"byte {offset:,}" in caught.value.message


@EXAMPLES
@given(st.one_of(RUNS.map(bits_of), NOISE), st.data())
def test_any_damage_is_an_error_with_an_offset(bits, data):
    stream = bytearray(compress_bits(bits).tobytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "more"])) if stream else "more"
    at = data.draw(st.integers(0, max(0, len(stream) - 1)))
    if kind == "flip":
        stream[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del stream[max(1, at) :]
    else:
        place = at if kind == "insert" else len(stream)
        stream[place:place] = data.draw(st.binary(min_size=1, max_size=6))
    try:
        found = decompress_bits(bytes(stream), max_bits=1 << 20)
    except RunLengthError as error:
        assert 0 <= error.offset <= len(stream)
    except ResourceLimitError as error:
        assert error.estimate > error.limit == 1 << 20
    else:  # an insertion that changes nothing, or a cut of nothing
        assert np.array_equal(found, bits) or not bits.size


def test_what_is_declared_is_bounded_before_memory_is_taken():
    with pytest.raises(ResourceLimitError) as caught:
        decompress_bits(compress_bits(np.zeros(1001, np.uint8)), max_bits=1000)
    assert (caught.value.estimate, caught.value.limit) == (1001, 1000)
    with pytest.raises(ResourceLimitError) as caught:
        decompress_bits(b"\x1d" + b"\xff" * 8 + b"\x00")
    assert caught.value.estimate == 2**64 - 1
    with pytest.raises(ResourceLimitError):
        decompress_rows(compress_rows(np.zeros((3, 100), np.uint8)), max_bits=299)


def test_rows_that_do_not_fit_are_named():
    good = compress_bits([0, 1, 1])
    with pytest.raises(RunLengthError, match="row 1: ") as damaged:
        decompress_rows([good, good[:-1]])
    assert (damaged.value.row, damaged.value.offset) == (1, 6)
    with pytest.raises(CodecError) as uneven:
        decompress_rows([good, compress_bits([0, 1])])
    assert (uneven.value.row, uneven.value.length) == (1, 2)
    with pytest.raises(CodecError) as flat:
        compress_rows(np.zeros(5, np.uint8))
    assert flat.value.shape == (5,)


def test_what_is_no_bits_or_no_stream_is_refused():
    with pytest.raises(CodecError) as caught:
        compress_rows(np.array([[0, 1], [2, 0]]))
    assert (caught.value.index, caught.value.value) == (2, 2)
    with pytest.raises(CodecError) as caught:
        decompress_bits(np.zeros(3, np.int64))
    assert caught.value.dtype == "int64"
