"""Training for a number of CPU seconds, whatever else the machine does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
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


def train_on_cpu_clock(
    engine: Engine,
    data: ByteData,
    plan: TrainingPlan,
    *,
    now: Callable[[], float] = time.process_time,
    look: Callable[[float], None] | None = None,
) -> Generator[float, None, Trained]:
    """Train until the plan's seconds of process CPU time are used, or all is read; yields their share after each step.

    now: another clock, for a GPU. look: is told the seconds used after each step, and the clock stands still meanwhile.
    Raises ConfigError for a plan without seconds, and for data too short to learn from.
    """
    if plan.seconds is None:
        raise ConfigError("seconds=None: training on the CPU clock ends by it, so give seconds")
    steps, seen, used, stood = 0, 0, 0.0, 0.0
    started, wall = now(), time.perf_counter()
    for report in engine.train_steps(data, plan):
        steps, seen = steps + 1, seen + report.num_bytes
        used = now() - started - stood
        if engine.plan is not None:  # it counts wall seconds, and the schedule must follow this clock instead
            engine.plan = engine.plan.model_copy(update={"seconds_done": used})
        if look is not None:
            looked = now()
            look(used)
            stood += now() - looked
        yield min(1.0, used / plan.seconds)
    return Trained(steps, seen, used, time.perf_counter() - wall)
