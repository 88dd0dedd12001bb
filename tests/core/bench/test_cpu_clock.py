"""Training on the CPU clock: the schedule follows it, looking stops it, and reading all there is ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitlm_core import ByteData, ConfigError, Engine, EngineConfig, MixingConfig, TrainingPlan, preset_config
from bitlm_core.bench.clock import Trained, train_on_cpu_clock
from bitlm_core.steps import finished


class Ticking:
    """A clock that a step moves on by one, and a look by a hundred."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.looks, self.seen = engine, 0, list[float]()

    def __call__(self) -> float:
        return self._engine.step + 100.0 * self.looks

    def look(self, used: float) -> None:
        self.looks += 1
        self.seen.append(used)


def test_the_schedule_follows_the_clock_which_stands_still_while_one_looks(
    config_of: Callable[..., EngineConfig], training_data: ByteData
) -> None:
    engine = Engine(config_of("byte", mixing=None))
    clock, plan = Ticking(engine), TrainingPlan(seconds=4)
    shares = train_on_cpu_clock(engine, training_data, plan, now=clock, look=clock.look)
    assert [next(shares) for _ in range(3)] == [0.25, 0.5, 0.75]
    assert engine.plan is not None and engine.plan.seconds_done == 3 and engine.plan.progress == 0.75
    found = finished(shares)
    assert isinstance(found, Trained) and (found.steps, found.cpu_seconds, found.bytes_seen) == (4, 4, 4 * 8 * 64)
    assert clock.seen == [1, 2, 3, 4] and engine.step == 4


def test_it_ends_where_all_is_read_and_needs_seconds(training_data: ByteData) -> None:
    engine = Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8)))
    found = finished(train_on_cpu_clock(engine, training_data, TrainingPlan(seconds=1e5)))
    assert (found.steps, found.bytes_seen) == (1, len(training_data)) and found.cpu_seconds < 1e5
    with pytest.raises(ConfigError, match="give seconds"):
        finished(train_on_cpu_clock(engine, training_data, TrainingPlan(steps=1)))
