"""`bitlm bench growth`: what growing costs a network that has learned a while.

A network of each architecture learns the first 90 % of the data; from there it grows in each way, and it and what it has grown
to make one optimizer step more, of the same windows. Compared are logits before that step, and after it the loss of held-out
windows. Longer windows are compared on windows as long as before, and then after a step of windows twice as long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Figure, Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.models.config import Architecture, Preset
from bitlm_core.models.output import path_nats
from bitlm_core.models.presets import preset_config
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory
from bitlm_core.training.growing import Growth
from bitlm_core.transform.growth import grow

HELD_WINDOWS = 64
GROWS_AT = 0.5
"""Of the run: its rate falls already, and is still that of learning."""


@dataclass(frozen=True)
class GrowthTrial:
    """One growth. logit_difference: the largest, before any step. loss_jump_percent: of the loss after a step, over that of the
    network that has not grown; with loss_jump_long_percent, after a step of windows twice as long. seconds: of growing, CPU."""

    architecture: Architecture
    growth: Growth
    logit_difference: float
    loss_jump_percent: float
    loss_jump_long_percent: float | None
    seconds: float
    parameters_before: int
    parameters: int


@dataclass(frozen=True)
class GrowthReport(Report):
    """All trials; how long each network had learned, CPU seconds, and the size of networks."""

    trials: tuple[GrowthTrial, ...]
    learned_seconds: float
    preset: Preset
    machine: str

    def flat(self) -> dict[str, Figure]:
        """As `ARCHITECTURE_GROWTH_figure`, with three significant digits; and the worst of all."""
        figures: dict[str, Figure] = {
            "logit_difference": max(trial.logit_difference for trial in self.trials),
            "loss_jump_percent": max(trial.loss_jump_percent for trial in self.trials),
        }
        for trial in self.trials:
            told = {name: value for name, value in vars(trial).items() if name not in ("architecture", "growth")}
            found = {f"{trial.architecture}_{trial.growth}_{name}": value for name, value in told.items()}
            figures |= {name: value for name, value in found.items() if value is not None}
        figures |= {"learned_seconds": self.learned_seconds, "preset": self.preset, "machine": self.machine}
        return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in figures.items()}


def growth_bench_steps(
    data: bytes, architectures: Sequence[Architecture], preset: Preset, seconds: float
) -> Iterator[float | GrowthReport]:
    """Yields the share that is done, and last the report. `seconds`: of CPU time that each network learns. One thread."""
    torch.set_num_threads(1)
    train, held = (bytes_in_memory(part) for part in split(data))
    trials: list[GrowthTrial] = []
    for index, architecture in enumerate(architectures):
        model = preset_config(preset, architecture)
        training = TrainingConfig(window_bytes=model.max_bytes)
        engine = Engine(EngineConfig(model=model, training=training, mixing=None))
        plan = TrainingPlan(seconds=seconds / GROWS_AT)
        for share in train_on_cpu_clock(engine, train, plan):
            yield (index + min(1.0, share / GROWS_AT)) / len(architectures)
            if share >= GROWS_AT:
                break
        # Wherever the last step has ended: the run goes on, at the rate of that moment.
        engine.plan = plan.model_copy(update={"seconds_done": seconds})
        trials += _trials(engine, train, held)
    yield GrowthReport(tuple(trials), seconds, preset, describe())


def _trials(engine: Engine, train: ByteData, held: ByteData) -> Iterator[GrowthTrial]:
    length = engine.config.model.max_bytes
    windows = sample_windows(held, batch=HELD_WINDOWS, length=min(length, len(held)), seed=0, step=0).data
    logits = _logits(engine, windows)
    still = _after_a_step(Engine.from_state(*engine.state()), train, windows)
    for growth in get_args(Growth):
        started = time.process_time()
        grown = grow(engine, growth)
        seconds = time.process_time() - started
        difference = float((_logits(grown, windows) - logits).abs().max())
        sizes = {"parameters_before": engine.num_parameters, "parameters": grown.num_parameters}
        longer = None
        if growth == "context":
            far = grow(engine, growth)
            far.set_training(far.config.training.model_copy(update={"window_bytes": None}))
            longer = 100 * (_after_a_step(far, train, windows) / still - 1)
        told: dict[str, Any] = {"logit_difference": difference, "loss_jump_long_percent": longer, "seconds": seconds, **sizes}
        jump = 100 * (_after_a_step(grown, train, windows) / still - 1)
        yield GrowthTrial(engine.config.model.architecture, growth, loss_jump_percent=jump, **told)


@torch.no_grad()
def _logits(engine: Engine, windows_BT: Tensor) -> Tensor:
    assert engine.model  # noqa: S101 - networks alone grow
    return torch.cat([engine.model.path_logits(part) for part in torch.split(windows_BT, 8)])


def _after_a_step(engine: Engine, train: ByteData, windows_BT: Tensor) -> float:
    """Nats per byte of held-out windows."""
    assert engine.plan  # noqa: S101 - it has learned a while
    next(engine.train_steps(train, engine.plan))
    return float(np.mean(path_nats(_logits(engine, windows_BT), windows_BT).double().numpy()))
