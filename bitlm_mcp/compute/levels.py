"""Surprise as it is sent: levels, a byte each, short enough to be shown byte by byte."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitlm_mcp.compute.messages import Message

LEVELS_PER_BIT = 16


def levels(bits: NDArray[np.floating[Any]]) -> bytes:
    """Bits per byte as 8-bit numbers, in sixteenths of a bit: from 15.9 on all are 255."""
    return np.minimum(np.round(LEVELS_PER_BIT * bits), 255).astype(np.uint8).tobytes()


class SurpriseOutcome(Message):
    """What `num_bytes` bytes from `offset` on cost, of `total_bytes` that the data has, in cells of `cell_bytes`.

    Surprise is told as levels, a byte each, see `levels`: the largest and the mean of every cell, and of every byte of
    `data`, the bytes that are shown. patches: where in those a patch starts; None where the model cuts none.
    """

    answer: Literal["surprise"] = "surprise"
    offset: int
    num_bytes: int
    total_bytes: int
    bits_per_byte: float
    cell_bytes: int
    peaks: bytes
    means: bytes
    shown_at: int
    data: bytes
    surprise: bytes
    patches: tuple[int, ...] | None
