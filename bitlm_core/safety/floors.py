"""What the safety gate demands, and what it says. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Safety = Literal["off", "warn", "strict"]


class Floors(BaseModel):
    """An output below any of these is reported, or refused in strict mode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: Annotated[float, Field(ge=0, le=1, description="negentropy of the bytes")] = 0.0
    c: Annotated[float, Field(ge=0, le=1, description="LZ76 complexity of the bits")] = 0.3
    s: Annotated[float, Field(ge=0, le=1, description="likeness to the training data's bytes")] = 0.5
    valid_groups: Annotated[float, Field(ge=0, le=1, description="share of parity groups that add up")] = 1.0


class Verdict(BaseModel):
    """What the gate found. `reasons` is empty when `passed`; `judged` is false when there was too little to judge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    judged: bool
    k: float | None
    c: float | None
    s: float | None
    reasons: tuple[str, ...]
