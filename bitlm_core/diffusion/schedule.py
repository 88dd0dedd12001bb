"""Noise schedules: α(t), the share of bytes still visible at time t ∈ [0, 1]; exactly 1 at t = 0 and 0 at t = 1.

linear   1 − t
cosine   cos(πt/2)
exp      (e^(−5t) − e^(−5)) / (1 − e^(−5))
"""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "exp"]


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
