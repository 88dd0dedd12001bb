"""Which bytes a network of bounded context sees before each byte of a long stream.

Windows of `size` bytes follow each other with `overlap` bytes in common: the first predicts all its bytes, each later one
only those after the overlap. Every byte is predicted exactly once, and all but the first `overlap` from at least
`overlap` bytes of context.

Reading byte by byte (with a cache) and scoring in bulk use an overlap of half a window, so they see the same windows:
byte n is predicted from the window that starts at s(n) = max(0, ⌊n/h⌋ − 1)·h, h = half a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


def window_start(position: int, max_bytes: int) -> int:
    """First byte of the window that predicts byte `position`, with half-overlapping windows."""
    half = max_bytes // 2
    return max(0, position // half - 1) * half


def window_end(position: int, max_bytes: int) -> int:
    """The first byte after `position` that is predicted from a later window."""
    return window_start(position, max_bytes) + 2 * (max_bytes // 2)


@dataclass(frozen=True)
class Window:
    """Bytes [start, end) of a stream, of which [predicted, end) are predicted here."""

    start: int
    predicted: int
    end: int

    @property
    def begins(self) -> bool:
        """Whether it is the first of its stream or document."""
        return self.predicted == self.start


def stream_windows(length: int, size: int, overlap: int) -> Iterator[Window]:
    """The windows of a stream of `length` bytes, in order; their predicted parts tile it. 0 ≤ overlap < size."""
    if length:
        yield Window(0, 0, min(size, length))
    for start in _later_starts(length, size, overlap):
        yield Window(start, start + overlap, min(start + size, length))


def count_windows(length: int, size: int, overlap: int) -> int:
    """How many windows `stream_windows` yields."""
    return (length > 0) + len(_later_starts(length, size, overlap))


def half_overlapping(length: int, max_bytes: int) -> Iterator[Window]:
    """The windows that `window_start` describes."""
    half = max_bytes // 2
    return stream_windows(length, 2 * half, half)


def document_windows(documents: Iterable[tuple[int, int]], max_bytes: int) -> Iterator[Window]:
    """Half-overlapping windows over each document [start, end) of a stream: none reaches across an edge."""
    for start, end in documents:
        for window in half_overlapping(end - start, max_bytes):
            yield Window(start + window.start, start + window.predicted, start + window.end)


def _later_starts(length: int, size: int, overlap: int) -> range:
    return range(size - overlap, length - overlap, size - overlap)
