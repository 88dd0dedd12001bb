"""Training bytes: memory-mapped files, or bytes in memory. No torch in here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError

CHUNK = 1 << 22


@dataclass(frozen=True)
class ByteData:
    """Bytes to learn or to score; `digest` (SHA-256, hex) names them.

    `counts` [256]: how often each byte occurs, where that is known; else the first training step must read all of them.
    `document_starts`: where the second and later documents begin, ascending; nothing is predicted across these places.
    `offset`: where a part of something larger begins in it.
    """

    array: NDArray[np.uint8]
    digest: str
    counts: NDArray[np.int64] | None = None
    document_starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    offset: int = 0

    def __len__(self) -> int:
        return len(self.array)

    def documents(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """Begin and end of each document, as far as it lies in [start, end)."""
        end = len(self.array) if end is None else min(end, len(self.array))
        inside = self.document_starts[(self.document_starts > start) & (self.document_starts < end)]
        return ((begin, stop) for begin, stop in pairwise([start, *inside.tolist(), end]) if begin < stop)

    def part(self, start: int, end: int) -> ByteData:
        """Bytes [start, end), under the name of the whole."""
        inside = self.document_starts[(self.document_starts > start) & (self.document_starts < end)]
        return ByteData(self.array[start:end], self.digest, None, inside - start, self.offset + start)

    def begins_document(self, place: int) -> bool:
        """Whether a document begins at this byte."""
        return place == 0 or place in self.document_starts


def bytes_in_memory(data: bytes) -> ByteData:
    """Wrap bytes. Raises ConfigError when there are none."""
    if not data:
        raise ConfigError("the data is empty (0 bytes, at least 1 is needed): give text, data or a file with content")
    array = np.frombuffer(data, np.uint8)
    return ByteData(array, hashlib.sha256(data).hexdigest(), byte_counts(array))


def file_part(path: Path, start: int, end: int, digest: str, counts: NDArray[np.int64] | None = None) -> ByteData:
    """Bytes [start, end) of a file, mapped, not read. `digest` and `counts` (see `ByteData`) are those of the part."""
    array = np.memmap(path, np.uint8, mode="r")[start:end] if end > start else np.zeros(0, np.uint8)
    return ByteData(array, digest, counts)


def byte_counts(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[256] how often each byte occurs; reads in chunks, so a mapped file is never loaded whole."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(data), CHUNK):
        counts += np.bincount(data[start : start + CHUNK], minlength=256)
    return counts
