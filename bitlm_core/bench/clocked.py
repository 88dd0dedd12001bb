"""Training by the CPU clock: on a machine that others use too, wall seconds say little."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bitlm_core.engine import Engine
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData


def trained(engine: Engine, data: ByteData, seconds: float) -> Iterator[float]:
    """Train for so many seconds of process CPU time; yields those used after each step."""
    started, plan = time.process_time(), TrainingPlan(seconds=seconds)
    # The plan counts wall seconds; the schedule must follow the CPU clock instead, so the plan is moved along by hand.
    for _ in engine.train_steps(data, plan):
        used = time.process_time() - started
        engine.plan = plan = plan.model_copy(update={"steps_done": plan.steps_done + 1, "seconds_done": used})
        yield used
