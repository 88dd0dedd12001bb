"""Answers that are models made of models."""

from __future__ import annotations

from typing import Literal

from bitlm_mcp.compute.messages import Message, Saved
from bitlm_mcp.snapshot import HistoryPoint


class Quantized(Message):
    """The new state with its record, the one before where it was wanted, and what the networks take in both, in bytes."""

    answer: Literal["quantized"] = "quantized"
    saved: Saved
    history: tuple[HistoryPoint, ...]
    alerts: tuple[str, ...]
    before: Saved | None
    network_bytes: int
    network_bytes_before: int
