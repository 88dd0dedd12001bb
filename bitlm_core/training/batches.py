"""Batches that are a function of the step alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.training.data import ByteData

_GOLDEN = 0x9E37_79B9_7F4A_7C15  # 2⁶⁴ / φ
_FEISTEL_TURNS = 6


class Batch(NamedTuple):
    """data [B, T]: bytes, int64. documents [B, T]: which document each byte is of; None where all are of one.

    starts [B]: where each row begins in the data it was cut from; None where that is not known.
    """

    data: Tensor
    documents: Tensor | None = None
    starts: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes in it, all of them data: windows are packed, so there is no padding."""
        return self.data.numel()

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; `starts` stay where they are."""
        documents = None if self.documents is None else self.documents.to(device)
        return Batch(self.data.to(device), documents, self.starts)

    def rows(self, chosen: slice | Tensor) -> Batch:
        """Some of its rows."""
        return Batch(*(None if part is None else part[chosen] for part in self))  # type: ignore[arg-type]

    def every_second(self, first: int) -> Batch:
        """Its rows first, first + 2, …"""
        return self.rows(slice(first, None, 2))

    def parts(self, num_parts: int) -> list[Batch]:
        """Its rows in that many parts as even as can be, or one row each."""
        rows = torch.arange(len(self.data)).tensor_split(min(num_parts, len(self.data)))
        return [self.rows(slice(int(part[0]), int(part[-1]) + 1)) for part in rows]


def sample_windows(data: ByteData, *, batch: int, length: int, seed: int, step: int) -> Batch:
    """`batch` windows of min(length, len(data)) bytes: epoch by epoch, each time cut at another place and shuffled anew.

    Which windows is a function of (seed, step) alone, so a resumed run sees what an uninterrupted one would, and no list of
    windows is ever held, however large the data.
    """
    length = min(length, len(data))
    per_epoch = max(1, (len(data) - length + 1) // length)
    numbers = step * batch + np.arange(batch)
    epochs, starts = numbers // per_epoch, np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
        offset, key = random.integers(0, len(data) - per_epoch * length + 1), random.integers(0, 1 << 62)
        starts[mine] = offset + length * permuted(numbers[mine] % per_epoch, per_epoch, int(key))
    return windows_at(data, starts, length)


def windows_at(data: ByteData, starts: NDArray[np.int64], length: int) -> Batch:
    """The windows of `length` bytes that begin at `starts`."""
    places = starts[:, None] + np.arange(length)
    windows, begin = torch.from_numpy(data.array[places].astype(np.int64)), torch.from_numpy(starts + data.offset)
    if not len(data.document_starts):
        return Batch(windows, None, begin)
    return Batch(windows, torch.from_numpy(np.searchsorted(data.document_starts, places, side="right")), begin)


def joined(batches: list[Batch]) -> Batch:
    """Their rows, one after the other; all of them of one width, and all or none with documents, with starts."""
    parts = zip(*batches, strict=True)
    return Batch(*(None if part[0] is None else torch.cat(part) for part in parts))  # type: ignore[arg-type]


def permuted(numbers: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of 0 … size − 1 takes the given numbers: a Feistel network, walked until inside."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    found = numbers.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        left, right = found[outside] >> np.uint64(half), found[outside] & mask
        for turn in range(_FEISTEL_TURNS):
            mixed = (right + np.uint64((key + turn * _GOLDEN) % (1 << 64))) * np.uint64(_GOLDEN)
            left, right = right, left ^ ((mixed >> np.uint64(40)) & mask)
        found[outside] = (left << np.uint64(half)) | right
        outside = found >= size
    return found.astype(np.int64)
