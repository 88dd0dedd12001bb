"""Floors on the K, C and S of generated bits, and on the share of parity groups that add up.

The gate sees statistics of an output, nothing of its meaning: it catches collapse (one byte for ever), noise of the wrong
kind and broken encoding. It does not catch an output that is false, harmful or merely poor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import SafetyGateError
from bitlm_core.models.config import BITS_PER_GROUP
from bitlm_core.safety.floors import Floors, Safety, Verdict
from bitlm_core.telemetry.metrics import measure_bits

# Below this, chance alone moves C and S by more than any floor could mean.
MIN_JUDGED_BYTES = 64


def judge(bits: NDArray[np.uint8], reference: NDArray[np.float64], floors: Floors) -> Verdict:
    """Judge generated bits, in groups of nine with even parity last; `reference` [256] are the training data's byte counts.

    The bits are judged as they are: groups that do not add up count against their floor.
    """
    if len(bits) < MIN_JUDGED_BYTES * BITS_PER_GROUP or not reference.any():
        return Verdict(passed=True, judged=False, k=None, c=None, s=None, reasons=())
    measured = measure_bits(bits, reference)
    reasons = tuple(
        f"{name}={value:.3f} is below its floor {floor:g}"
        for name, value, floor in (
            ("K", measured.k, floors.k),
            ("C", measured.c, floors.c),
            ("S", measured.s, floors.s),
            ("valid parity groups", measured.valid_groups, floors.valid_groups),
        )
        if value < floor
    )
    return Verdict(passed=not reasons, judged=True, k=measured.k, c=measured.c, s=measured.s, reasons=reasons)


def enforce(verdict: Verdict, safety: Safety) -> None:
    """Raise SafetyGateError (with the verdict) when strict safety meets a failed verdict."""
    if safety == "strict" and not verdict.passed:
        raise SafetyGateError(
            f"the output was withheld: {'; '.join(verdict.reasons)}. Train longer, try another temperature or "
            "another seed, or call with safety='warn' to see it",
            verdict=verdict,
        )


def judged(bits: NDArray[np.uint8], reference: NDArray[np.float64], floors: Floors, safety: Safety) -> Verdict | None:
    """The verdict on generated bits, enforced; None where safety is off."""
    if safety == "off":
        return None
    verdict = judge(bits, reference, floors)
    enforce(verdict, safety)
    return verdict
