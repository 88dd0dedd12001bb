"""Packed arrays: exact, small where there is little in them, and never more memory than the array that is expected."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest

from bitlm_core.checkpoint.packing import packed, unpacked


def some(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    raw = np.random.default_rng(3).integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("shape", [(0,), (1,), (70_001,), (3, 5, 7)])
def test_what_is_packed_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = some(dtype, shape)
    stream = packed(array)
    found = unpacked(stream, np.empty(shape, dtype))
    assert found.dtype == array.dtype and found.shape == shape
    assert np.array_equal(found, array)
    assert np.array_equal(packed(array.copy()), stream)


def test_a_part_of_an_array_is_packed_as_it_reads() -> None:
    array = some("int32", (40, 30))[:, ::2]
    assert np.array_equal(unpacked(packed(array), array), array)


def test_emptiness_costs_next_to_nothing() -> None:
    table = np.zeros(1 << 22, np.int32)
    assert packed(table).size < table.nbytes / 200
    table[:1000] = np.arange(1000)
    assert packed(table).size < table.nbytes / 200 + 4000


def stream_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


GOOD = zlib.compress(bytes(range(100)) * 10)
BAD = {
    "nothing": b"",
    "no stream": b"this is no zlib stream at all",
    "cut": GOOD[:-9],
    "its checksum lost": GOOD[:-4],
    "a byte of it changed": GOOD[:20] + bytes([GOOD[20] ^ 255]) + GOOD[21:],
    "more behind it": GOOD + b"x",
    "twice": GOOD + GOOD,
    "too short": zlib.compress(bytes(999)),
    "too long": zlib.compress(bytes(1001)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_stream_that_is_no_such_array_is_refused(kind: str) -> None:
    assert unpacked(stream_of(GOOD), np.empty(1000, np.uint8)).sum() == 49500
    with pytest.raises(ValueError, match="packed array"):
        unpacked(stream_of(BAD[kind]), np.empty(1000, np.uint8))


@pytest.mark.parametrize("stream", [stream_of(GOOD).astype(np.int64), stream_of(GOOD)[None], stream_of(GOOD).view(np.int8)])
def test_a_stream_of_another_kind_is_refused(stream: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 of one dimension"):
        unpacked(stream, np.empty(1000, np.uint8))


def test_a_bomb_takes_no_more_memory_than_the_array_it_should_be() -> None:
    bomb = stream_of(zlib.compress(bytes(256 << 20)))
    like = np.empty(1 << 20, np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 1,048,576 bytes"):
            unpacked(bomb, like)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
