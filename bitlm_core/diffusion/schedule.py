"""Noise: what is hidden together, and how much of it when.

Schedules: α(t), the share of bytes still visible at time t ∈ [0, 1]; exactly 1 at t = 0 and 0 at t = 1.

linear   1 − t
cosine   cos(πt/2)
exp      (e^(−5t) − e^(−5)) / (1 − e^(−5))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["linear", "cosine", "exp"]
MaskUnit = Literal["byte", "bit"]
HIGH_NOISE, UNIFORM_FROM = 0.8, 0.7
"""A curriculum begins with at least this share hidden, and hides as evenly as ever after this share of the run."""


@dataclass(frozen=True)
class Masking:
    """unit: what is hidden, whole bytes or single bits. least: the share hidden is uniform on least … 1."""

    unit: MaskUnit = "byte"
    least: float = 0.0

    @property
    def units_per_byte(self) -> int:
        """Units in a byte."""
        return 8 if self.unit == "bit" else 1


WHOLE_BYTES = Masking()


def least_hidden(progress: float) -> float:
    """Of a curriculum from high noise to low: the least share hidden when so much of a run is done, 0 … 1."""
    return HIGH_NOISE * max(0.0, 1 - progress / UNIFORM_FROM)


def visible_share(schedule: Schedule, t: float) -> float:
    """α(t); t is clipped to [0, 1] and the ends are exact."""
    if t <= 0:
        return 1.0
    if t >= 1:
        return 0.0
    if schedule == "linear":
        return 1 - t
    if schedule == "cosine":
        return math.cos(math.pi * t / 2)
    floor = math.exp(-5.0)
    return (math.exp(-5 * t) - floor) / (1 - floor)
