"""Training for a number of CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from bitlm_core.engine import Engine
from bitlm_core.errors import ConfigError
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData


@dataclass(frozen=True)
class Trained:
    """What a training was: steps and bytes read, seconds of process CPU time and of the wall."""

    steps: int
    bytes_seen: int
    cpu_seconds: float
    wall_seconds: float


def train_on_cpu_clock(engine: Engine, data: ByteData, plan: TrainingPlan) -> Generator[float, None, Trained]:
    """Train until the plan's seconds of process CPU time are used; yields their share after each step.

    Raises ConfigError for a plan without seconds, and for data too short to learn from.
    """
    if plan.seconds is None:
        raise ConfigError("seconds=None: training on the CPU clock ends by it, so give seconds")
    seconds, seen, used = plan.seconds, 0, 0.0
    started, wall = time.process_time(), time.perf_counter()
    # The plan counts wall seconds; the schedule must follow the CPU clock instead, so the plan is moved along by hand.
    for report in engine.train_steps(data, plan):
        seen += report.num_bytes
        used = time.process_time() - started
        plan = plan.model_copy(update={"steps_done": plan.steps_done + 1, "seconds_done": used})
        engine.plan = plan
        yield min(1.0, used / seconds)
    return Trained(plan.steps_done, seen, used, time.perf_counter() - wall)
