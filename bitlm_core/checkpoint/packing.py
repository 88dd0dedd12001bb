"""Large arrays in a checkpoint, compactly: one zlib stream each, whose shape and dtype the reader has to know already.

The tables of a mixer are mostly zeros and constants until it has read much, and half so later. The fastest level is used:
higher ones take ten times as long for a tenth less.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVEL = 1
_PIECE = 1 << 16  # of a packed stream, unpacked at a time


def packed(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The array's bytes as a zlib stream; equal arrays give equal streams."""
    stream = zlib.compress(_bytes_of(np.ascontiguousarray(array)).data, _LEVEL)
    return np.frombuffer(bytearray(stream), np.uint8)  # one that may be written to, as every tensor may


def unpacked(stream: NDArray[np.uint8], like: NDArray[Any]) -> NDArray[Any]:
    """The array that was packed, of the shape and dtype of `like`.

    Whatever the stream claims to be, no more memory is taken than such an array needs. Raises ValueError for a stream that is
    damaged, or holds more or less than that.
    """
    if stream.dtype != np.uint8 or stream.ndim != 1:
        raise ValueError(f"a packed array is uint8 of one dimension, not {stream.dtype} of {stream.ndim}")
    array = np.empty(like.shape, like.dtype)
    target, done = _bytes_of(array), 0
    reader = zlib.decompressobj()
    try:
        for start in range(0, len(stream), _PIECE):
            rest: bytes = stream[start : start + _PIECE].tobytes()
            while rest and not reader.eof:
                piece = reader.decompress(rest, min(len(target) - done, 1 << 20) + 1)
                if done + len(piece) > len(target):
                    raise ValueError(f"a packed array holds more than the {len(target):,} bytes that it should")
                target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done, rest = done + len(piece), reader.unconsumed_tail
            if rest:
                raise ValueError("a packed array is followed by something else")
    except zlib.error as error:
        raise ValueError(f"a packed array is damaged ({error})") from error
    if done != len(target) or not reader.eof or reader.unused_data:
        raise ValueError(f"a packed array holds {done:,} bytes, not the {len(target):,} that it should")
    return array


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
