"""Batches that are a function of the step alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bitlm_core.training.data import ByteData


def sample_windows(data: ByteData, *, batch: int, length: int, seed: int, step: int) -> Tensor:
    """[batch, min(length, len(data))] int64: windows that start anywhere, all starts equally likely.

    Which windows is a function of (seed, step) alone, so a resumed run sees what an uninterrupted one would.
    """
    length = min(length, len(data))
    random = np.random.Generator(np.random.Philox(key=[seed, step]))
    starts = random.integers(0, len(data) - length + 1, batch)
    windows = data.array[starts[:, None] + np.arange(length)]
    return torch.from_numpy(windows.astype(np.int64))
