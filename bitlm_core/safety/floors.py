"""What the safety gate demands, and what it says. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.errors import ConfigError

Safety = Literal["off", "warn", "strict"]
Metric = Literal["K", "C", "S", "transition rate", "pair cost", "pair excess", "own cost", "valid parity groups"]

MIN_JUDGED_BYTES = 64
"""Below this, chance alone moves C and S by more than any floor could mean."""


class Range(BaseModel):
    """Where a statistic of healthy generations lies; `usual` is their median."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Annotated[float, Field(allow_inf_nan=False)]
    usual: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]


class CalibratedFloors(BaseModel):
    """What healthy generations of one length are like, see `calibrate`; costs are in bits per byte.

    pairs: under the byte pairs of the calibration data. excess: that, less the entropy of the output's own bytes, which tells
    other data at any temperature. cost: under the model itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bytes: Annotated[int, Field(ge=MIN_JUDGED_BYTES, le=1 << 20)]
    k: Range
    c: Range
    s: Range
    pairs: Range
    excess: Range
    cost: Range


class Floors(BaseModel):
    """An output below any of these is reported, or refused in strict mode.

    Where `calibrated` holds something, an output must also lie in the ranges found at the longest length that it has; they
    can be tightened by k, c and s, and loosened only by calibrating again, or by leaving `calibrated` empty. With the telemetry
    profile legacy `c` is a floor of the transition rate, as an earlier system had it under that name, and at the same value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: Annotated[float, Field(ge=0, le=1, description="negentropy of the bytes")] = 0.0
    c: Annotated[float, Field(ge=0, le=1, description="LZ76 complexity of the bits, or their transition rate")] = 0.3
    s: Annotated[float, Field(ge=0, le=1, description="likeness to the training data's bytes")] = 0.5
    valid_groups: Annotated[float, Field(ge=0, le=1, description="share of parity groups that add up")] = 1.0
    calibrated: Annotated[tuple[CalibratedFloors, ...], Field(max_length=16, description="by length, ascending")] = ()

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        lengths = [row.num_bytes for row in self.calibrated]
        if lengths != sorted(set(lengths)):
            raise ConfigError(f"calibrated floors for lengths {lengths}: give each length once, ascending")
        return self

    def at(self, num_bytes: int) -> CalibratedFloors | None:
        """The calibrated floors of the longest length that so many bytes have; None where there are none."""
        return next((row for row in reversed(self.calibrated) if row.num_bytes <= num_bytes), None)


class Check(BaseModel):
    """One statistic against its bounds. A session's averages (see `session.Gate`) are held against narrower ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Metric
    value: float
    low: float
    high: float | None = None
    session_low: float
    session_high: float | None = None

    @property
    def broken(self) -> bool:
        """Whether the value is out of bounds."""
        return self.value < self.low or (self.high is not None and self.value > self.high)


class Verdict(BaseModel):
    """What the gate found. `reasons` is empty when `passed`; `judged` is false when there was too little to judge.

    A reason names metric, value and floor, the likely cause seen in the output, and what to do next. `k`, `c`, `s`: of the
    output, None where it was not judged. `checks`: each statistic against its bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    judged: bool
    k: float | None
    c: float | None
    s: float | None
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()


class GateState(BaseModel):
    """Where a session stands after `num_judged` outputs: `averages` by metric, once there are any; whether it has `triggered`,
    and the `reasons`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_judged: int
    triggered: bool
    averages: dict[str, float]
    reasons: tuple[str, ...]
