"""What distill_model tells; see `bitlm_core.DistillReport`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.snapshot import Status


class StudentResult(Result):
    """One student on the held-out part, its network alone; `below`: metrics under their floors; kl in nats per byte."""

    num_layers: int
    d_model: int
    num_parameters: int
    parameters_outside_tables: int
    steps: int
    seconds: float
    training_loss: FiniteOrNone = None
    bits_per_byte: float
    kl: FiniteOrNone = None
    gain_kept: float
    k: float
    c: float
    s: float
    transition_rate: float
    below: list[str]


class DistillResult(Result):
    """All students, of which the round `best` (from 0) is student_id now. Or the job that is still at it."""

    job_id: str
    status: Status
    student_id: str | None = None
    teacher_bits_per_byte: FiniteOrNone = None
    teacher_parameters: int | None = None
    teacher_outside_tables: Annotated[int | None, Field(description="Parameters but those of n-gram tables.")] = None
    num_medoids: int | None = None
    rounds: list[StudentResult] | None = None
    best: int | None = None
    reached: Annotated[bool | None, Field(description="Whether it keeps min_gain, and passes the floors.")] = None
    ended: str | None = None
    seconds: FiniteOrNone = None
    next: str | None = None
