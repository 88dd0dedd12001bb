"""What is looked at in an output, and how a whole session of outputs stands.

    bits ─→ K, C, S, valid parity groups ──────→ hand-set floors ───┐
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
from bitlm_core.safety.floors import MIN_JUDGED_BYTES, Check, Floors, GateState, Metric, Range, Safety, Verdict
from bitlm_core.safety.standard import Pairs, byte_counts_of, pair_cost, pair_excess
from bitlm_core.telemetry.metrics import SequenceMetrics, measure_bits

DECAY = 0.9
BURN_IN = 10
TOLERANCE = 1e-3
"""What an average may be out of bounds by: rounding, and what is long past."""


def judge(
    bits: NDArray[np.uint8],
    reference: NDArray[np.float64],
    floors: Floors,
    *,
    standard: Pairs | None = None,
    costs: Sequence[float] = (),
) -> Verdict:
    """Judge generated bits, in groups of nine with even parity last; `reference` [256] are the training data's byte counts.

    The bits are judged as they are: groups that do not add up count against their floor. `standard`: the byte pairs that the
    calibrated floors were found with. `costs`: bits that each byte cost under the model, where that is known.
    Raises ConfigError for calibrated floors without their standard.
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
        _checked("C", measured.c, floors.c, row.c if row else None),
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
) -> Verdict | None:
    """The verdict on generated bits, enforced; None where safety is off."""
    if safety == "off":
        return None
    verdict = judge(bits, reference, floors, standard=standard, costs=costs)
    enforce(verdict, safety)
    return verdict


class Gate:
    """The averages of one session: exponential, `DECAY` for what was, corrected for how few there are.

    It triggers when, after `BURN_IN` judged outputs, an average is below the average of its floors (or above that of its
    ceilings), which differ between outputs of different lengths. One poor output hardly moves it, many slightly poor ones do.
    Healthy outputs bring it back.
    """

    def __init__(self) -> None:
        self._num_judged = 0
        self._averages: dict[Metric, _Averages] = {}

    def observe(self, verdict: Verdict | None) -> GateState:
        """Take note of an output; one that was not judged moves nothing."""
        if verdict is not None and verdict.judged:
            self._num_judged += 1
            for check in verdict.checks:
                self._averages.setdefault(check.metric, _Averages()).add(check)
        return self.state

    @property
    def state(self) -> GateState:
        """Where the session stands."""
        reasons = [text for metric, own in self._averages.items() if (text := own.reason(metric))]
        known = tuple(reasons) if self._num_judged >= BURN_IN else ()
        averages: dict[str, float] = {metric: own.value for metric, own in self._averages.items()}
        return GateState(num_judged=self._num_judged, triggered=bool(known), averages=averages, reasons=known)


class _Averages:
    """Of one metric: its values beside their floors, and beside their ceilings where they have any."""

    def __init__(self) -> None:
        self._low, self._high = _Average(), _Average()

    def add(self, check: Check) -> None:
        """Take note of one value."""
        self._low.add(check.value, check.session_low)
        if check.session_high is not None:
            self._high.add(check.value, check.session_high)

    @property
    def value(self) -> float:
        """The average of all values."""
        return self._low.pair[0]

    def reason(self, metric: Metric) -> str | None:
        """Why this average triggers the gate, if it does."""
        (value, floor), (same, ceiling) = self._low.pair, self._high.pair
        if value < floor - TOLERANCE:
            limit = f"< {floor:.3g}"
        elif same > ceiling + TOLERANCE:
            limit = f"> {ceiling:.3g}"
        else:
            return None
        return (
            f"{metric} averages {value:.3g} {limit} over this session's last outputs: look at several of them, train longer, "
            "or change temperature or prompts"
        )


class _Average:
    """Of values and of their limits, exponential, corrected for its start."""

    def __init__(self) -> None:
        self._weight = self._value = self._limit = 0.0

    def add(self, value: float, limit: float) -> None:
        """Take note of one value and its limit."""
        self._weight, self._value, self._limit = (
            DECAY * kept + (1 - DECAY) * new for kept, new in ((self._weight, 1.0), (self._value, value), (self._limit, limit))
        )

    @property
    def pair(self) -> tuple[float, float]:
        """Both averages, as if they had always been; zeros before the first value."""
        weight = self._weight or 1.0
        return self._value / weight, self._limit / weight
