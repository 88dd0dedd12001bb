"""Batches that are a function of the step alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitlm_core.training.data import ByteData


class Batch(NamedTuple):
    """data [B, T]: bytes, int64. documents [B, T]: which document each byte is of; None where all are of one."""

    data: Tensor
    documents: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes in it, all of them data: windows are packed, so there is no padding."""
        return self.data.numel()

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        documents = None if self.documents is None else self.documents.to(device)
        return Batch(self.data.to(device), documents)

    def parts(self, num_parts: int) -> list[Batch]:
        """Its rows in that many parts, or one row each."""
        data = self.data.chunk(min(num_parts, len(self.data)))
        documents = [None] * len(data) if self.documents is None else self.documents.chunk(len(data))
        return [Batch(one, other) for one, other in zip(data, documents, strict=True)]


def sample_windows(data: ByteData, *, batch: int, length: int, seed: int, step: int) -> Batch:
    """`batch` windows of min(length, len(data)) bytes that start anywhere, all starts equally likely.

    Which windows is a function of (seed, step) alone, so a resumed run sees what an uninterrupted one would.
    """
    length = min(length, len(data))
    random = np.random.Generator(np.random.Philox(key=[seed, step]))
    starts = random.integers(0, len(data) - length + 1, batch)
    places = starts[:, None] + np.arange(length)
    windows = torch.from_numpy(data.array[places].astype(np.int64))
    if not len(data.document_starts):
        return Batch(windows)
    return Batch(windows, torch.from_numpy(np.searchsorted(data.document_starts, places, side="right")))
