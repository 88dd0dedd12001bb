"""How a network is distilled into a smaller one: one frozen class. No torch in here."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.safety.floors import Floors
from bitlm_core.training.config import TrainingPlan

MAX_ROUNDS = 8
MIN_GAIN = 0.97


class DistillConfig(BaseModel):
    """Settings of `transform.distillation`. The budget, steps or seconds, is that of each round; exactly one is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int | None, Field(ge=1, le=10_000_000, description="optimizer steps of each round")] = None
    seconds: Annotated[float | None, Field(gt=0, le=1_000_000, description="seconds of each round")] = None
    data_weight: Annotated[float, Field(ge=0, le=100, description="of the data's own loss")] = 0.1
    teacher_weight: Annotated[float, Field(gt=0, le=100, description="of KL(teacher ‖ student)")] = 1.0
    taught_from: Annotated[float, Field(ge=0, lt=1, description="share of a round after which the teacher is asked")] = 0.5
    num_clusters: Annotated[int, Field(ge=0, le=256, description="groups of windows, each shown by its medoid; 0: none")] = 8
    looked_at: Annotated[int, Field(ge=1, le=4096, description="windows of the data that are grouped")] = 128
    example_share: Annotated[float, Field(ge=0, le=1, description="medoids among a step's windows while they are shown")] = 0.5
    examples_until: Annotated[float, Field(ge=0, le=1, description="share of a round in which medoids are shown")] = 0.1
    min_gain: Annotated[float, Field(gt=0, le=1, description="of the teacher's gain: below it, a larger student is tried")] = (
        MIN_GAIN
    )
    floors: Annotated[Floors | None, Field(description="K, C and S to be reached on held-out data; null: the teacher's")] = None
    width_scale: Annotated[float, Field(gt=1, le=8, description="by which a student is widened, once")] = 1.5
    max_rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS, description="students that are trained at most")] = 3

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError(f"steps={self.steps} and seconds={self.seconds}: give one of them, the budget of each round")
        return self

    @property
    def plan(self) -> TrainingPlan:
        """What one round trains."""
        return TrainingPlan(steps=self.steps, seconds=self.seconds)
