"""What is looked at in an output, and how a whole session of outputs stands.

    bits ─→ K, C, S, valid parity groups ──────→ hand-set floors ───┐      (profile legacy: transition rate in the place of C)
         └→ their end, as long as was calibrated                    ├→ Verdict ─→ Gate (averages of a session)
              └→ K, C, S, pair and own costs ─→ calibrated ranges ─┘

The gate sees statistics of an output, nothing of its meaning. It catches collapse (one byte, short cycles), noise, broken
encoding and, once calibrated, output like other data. It does not cover:

- an output that is false, harmful, private, or copied from the training data: fluent text passes, whatever it says;
- what is shorter than `MIN_JUDGED_BYTES`, which is not judged, and, once calibrated, what comes before the end of a longer
  output: only that end, as long as was calibrated, is measured then;
- data of a kind that the model was calibrated with: a model that is calibrated on the wrong data passes with it;
- someone who knows the ranges and shapes an output to lie in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError, SafetyGateError
from bitlm_core.models.config import BITS_PER_GROUP
from bitlm_core.safety.cause import reasons_for
from bitlm_core.safety.floors import MIN_JUDGED_BYTES, Check, Floors, Metric, Range, Safety, Verdict
from bitlm_core.safety.standard import Pairs, byte_counts_of, pair_cost, pair_excess
from bitlm_core.telemetry.config import Profile
from bitlm_core.telemetry.metrics import SequenceMetrics, measure_bits


def judge(
    bits: NDArray[np.uint8],
    reference: NDArray[np.float64],
    floors: Floors,
    *,
    standard: Pairs | None = None,
    costs: Sequence[float] = (),
    profile: Profile = "standard",
) -> Verdict:
    """Judge generated bits, in groups of nine with even parity last; `reference` [256] are the training data's byte counts.

    The bits are judged as they are: groups that do not add up count against their floor. `standard`: the byte pairs that the
    calibrated floors were found with. `costs`: bits that each byte cost under the model, where that is known. `profile`: legacy
    holds the transition rate against the floor of C. Raises ConfigError for calibrated floors without their standard.
    """
    num_bytes = len(bits) // BITS_PER_GROUP
    if floors.calibrated and standard is None:
        raise ConfigError("calibrated floors mean nothing without what they were found with: calibrate_floors, or use Floors()")
    row = floors.at(num_bytes)
    if standard is not None:
        reference = byte_counts_of(standard)
    if num_bytes < MIN_JUDGED_BYTES or not reference.any():
        return Verdict(passed=True, judged=False, k=None, c=None, s=None, reasons=())
    end = bits if row is None else bits[-BITS_PER_GROUP * row.num_bytes :]
    measured = measure_bits(end, reference)
    valid = measured.valid_groups if row is None else measure_bits(bits, reference).valid_groups
    data = np.packbits(end[: len(end) // BITS_PER_GROUP * BITS_PER_GROUP].reshape(-1, BITS_PER_GROUP)[:, :8], axis=1)[:, 0]
    checks = [
        _checked("K", measured.k, floors.k, row.k if row else None),
        *_complexity(measured, floors.c, row.c if row else None, profile),
        _checked("S", measured.s, floors.s, row.s if row else None),
        _checked("valid parity groups", valid, floors.valid_groups),
    ]
    if row is not None and standard is not None:
        checks.append(_checked("pair cost", pair_cost(data, standard), 0.0, row.pairs))
        checks.append(_checked("pair excess", pair_excess(data, standard), -math.inf, row.excess))
        if costs:
            own = math.fsum(costs[-row.num_bytes :]) / row.num_bytes
            checks.append(_checked("own cost", own, 0.0, row.cost))
    return _verdict(measured, checks, reasons_for(checks, data, reference))


def _verdict(measured: SequenceMetrics, checks: Sequence[Check], reasons: tuple[str, ...]) -> Verdict:
    return Verdict(
        passed=not reasons, judged=True, k=measured.k, c=measured.c, s=measured.s, reasons=reasons, checks=tuple(checks)
    )


def _complexity(measured: SequenceMetrics, floor: float, healthy: Range | None, profile: Profile) -> list[Check]:
    """C; with profile legacy the transition rate against the floor, and C against what was calibrated, if anything was."""
    if profile == "standard":
        return [_checked("C", measured.c, floor, healthy)]
    calibrated = [_checked("C", measured.c, 0.0, healthy)] if healthy else []
    return [_checked("transition rate", measured.transition_rate, floor), *calibrated]


def _checked(metric: Metric, value: float, floor: float, healthy: Range | None = None) -> Check:
    """A value against a floor set by hand and the range of healthy ones, whichever is narrower.

    A session's average is held against what lies half-way between what is usual and the end of the range.
    """
    if healthy is None:
        return Check(metric=metric, value=value, low=floor, session_low=floor)
    return Check(
        metric=metric,
        value=value,
        low=max(floor, healthy.low),
        high=healthy.high,
        session_low=max(floor, (healthy.low + healthy.usual) / 2),
        session_high=(healthy.high + healthy.usual) / 2,
    )


def enforce(verdict: Verdict, safety: Safety) -> None:
    """Raise SafetyGateError (with the verdict) when strict safety meets a failed verdict."""
    if safety == "strict" and not verdict.passed:
        raise SafetyGateError(
            f"the output was withheld: {'; '.join(verdict.reasons)}. Or call with safety='warn' to see it",
            verdict=verdict,
        )


def judged(
    bits: NDArray[np.uint8],
    reference: NDArray[np.float64],
    floors: Floors,
    safety: Safety,
    standard: Pairs | None = None,
    costs: Sequence[float] = (),
    profile: Profile = "standard",
) -> Verdict | None:
    """The verdict on generated bits, enforced; None where safety is off."""
    if safety == "off":
        return None
    verdict = judge(bits, reference, floors, standard=standard, costs=costs, profile=profile)
    enforce(verdict, safety)
    return verdict
