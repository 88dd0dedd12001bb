"""What data is like, before anything is learned of it. No torch and no numba in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError

PIECES, PIECE_BYTES = 16, 1 << 16
"""Of longer data, so many pieces at equal distances are looked at."""
_PRINTABLE = np.isin(np.arange(256), [9, 10, 13, *range(32, 127), *range(128, 256)])
_TEXT_SHARE, _ASCII_SHARE = 0.97, 0.2


@dataclass(frozen=True)
class DataStatistics:
    """Of `bytes_measured` bytes: all, or a sample. entropy_n: bits of a byte, given the n bytes before it, from counts.

    What such counts say is a lower bound for long data: of few bytes, the higher orders know many by heart, and entropy_2 of
    a megabyte of noise is 0.1 bits, not 8. kind: text, where nearly all bytes can be printed and some are ASCII. num_lines and
    mean_line_bytes are of text; mean_document_bytes of several documents.
    """

    bytes_measured: int
    distinct_bytes: int
    entropy_0: float
    entropy_1: float
    entropy_2: float
    kind: Literal["text", "binary"]
    num_lines: int | None = None
    mean_line_bytes: float | None = None
    mean_document_bytes: float | None = None


def data_statistics(data: NDArray[np.uint8], num_documents: int = 1) -> DataStatistics:
    """The statistics of bytes [N]; a mapped file is not read whole. Raises ConfigError for none."""
    if not len(data):
        raise ConfigError("there is nothing to measure (0 bytes, at least 1): give some data")
    rows = _pieces(data)
    counts = np.bincount(rows.ravel(), minlength=256)
    joint = [_entropy_of_blocks(rows, length) for length in (1, 2, 3)]
    text = counts[_PRINTABLE].sum() > _TEXT_SHARE * rows.size and counts[:128].sum() > _ASCII_SHARE * rows.size
    lines = int(counts[10]) if text else 0
    return DataStatistics(
        bytes_measured=rows.size,
        distinct_bytes=int(np.count_nonzero(counts)),
        entropy_0=joint[0],
        entropy_1=max(0.0, joint[1] - joint[0]),
        entropy_2=max(0.0, joint[2] - joint[1]),
        kind="text" if text else "binary",
        num_lines=lines if text else None,
        mean_line_bytes=rows.size / lines if lines else None,
        mean_document_bytes=len(data) / num_documents if num_documents > 1 else None,
    )


def _pieces(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[R, T]."""
    if len(data) <= PIECES * PIECE_BYTES:
        return np.ascontiguousarray(data)[None]
    begins = np.linspace(0, len(data) - PIECE_BYTES, PIECES).astype(np.int64)
    return np.stack([data[begin : begin + PIECE_BYTES] for begin in begins])


def _entropy_of_blocks(rows: NDArray[np.uint8], length: int) -> float:
    """Bits of `length` bytes that stand side by side; 0 where none do."""
    if rows.shape[1] < length:
        return 0.0
    blocks = np.zeros((len(rows), rows.shape[1] - length + 1), np.int32)
    for place in range(length):
        blocks = (blocks << 8) + rows[:, place : rows.shape[1] - length + 1 + place]
    _, counts = np.unique(blocks, return_counts=True)
    share = counts / blocks.size
    return max(0.0, float(-(share * np.log2(share)).sum()))
