"""Progressive training against training the final size from the start: bits per byte of the last 10 %, in process CPU seconds.

Three runs, each with a schedule of its own: the final size for `seconds`; a small network that grows up to it for `share` of
them, looks at held-out data and the growths themselves counted in; and the small network as it is for as long, which tells
whether growing was worth anything. The network alone, without context mixing, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import scored, split
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.models.config import ModelConfig, count_parameters
from bitlm_core.steps import scaled
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory
from bitlm_core.training.growing import Growing, GrowthEvent, ProgressiveConfig
from bitlm_core.transform.cycle import grown_config
from bitlm_core.transform.progressive import Progressive

LOOK_BYTES = 1 << 14
"""Of the held-out part, what a growing network is looked at by."""
RULE = ProgressiveConfig(improve_threshold=0.06, window=2, patience=1, cycle=("width",), warmup_steps=25)
"""For runs of some hundred steps, which are too short for warm-ups of a hundred."""
TRAINING = TrainingConfig()


@dataclass(frozen=True)
class ProgressiveTrial:
    """`start` grows as `settings` say, looked at every `validate_every` steps; the cycle once is the final size."""

    start: ModelConfig
    settings: ProgressiveConfig = RULE
    training: TrainingConfig = TRAINING
    seconds: float = 120.0
    validate_every: int = 40
    share: float = 0.8

    @property
    def final(self) -> ModelConfig:
        """What it is compared with. Raises ConfigError where the cycle cannot be gone through."""
        config = EngineConfig(model=self.start, mixing=None)
        for growth in self.settings.cycle:
            config = grown_config(config, growth)
        return config.model

    @property
    def rule(self) -> ProgressiveConfig:
        """The settings, ending at the final size."""
        return self.settings.model_copy(update={"max_parameters": count_parameters(self.final)})


@dataclass(frozen=True)
class ProgressiveReport(Report):
    """The outcome. `reached`: the network that grew knows held-out data at least as well, in `share` of the CPU seconds.

    `grown_to_final`: it has the final number of parameters. `growths`: those that were kept; `grown_at`: CPU seconds of the
    last of them.
    """

    reached: bool
    share: float
    bpb_final: float
    bpb_progressive: float
    bpb_start: float
    cpu_seconds_final: float
    cpu_seconds_progressive: float
    grown_to_final: bool
    growths: int
    undone: int
    grown_at: float | None
    steps_final: int
    steps_progressive: int
    num_parameters_start: int
    num_parameters_final: int


@dataclass(frozen=True)
class _Grown:
    engine: Engine
    cpu_seconds: float
    grown_at: float | None
    what: tuple[str, ...]


def progressive_bench_steps(data: bytes, trial: ProgressiveTrial) -> Iterator[float | ProgressiveReport]:
    """Yields the share done after each step, and last the report. Raises ConfigError for data too short to hold some out."""
    torch.set_num_threads(1)
    train, held = (bytes_in_memory(part) for part in split(data))
    if len(held) < 2:
        raise ConfigError(f"{len(data)} bytes are too few to hold any out: give some thousands at least")
    total = trial.seconds * (1 + 2 * trial.share)
    whole, part = trial.seconds / total, trial.seconds * trial.share / total
    final, steps, used = yield from scaled(_trained(trial, trial.final, trial.seconds, train), 0.0, whole)
    grown = yield from scaled(_growing(trial, train, held), whole, whole + part)
    small, _, _ = yield from scaled(_trained(trial, trial.start, trial.seconds * trial.share, train), whole + part, 1.0)
    known = [_bits_per_byte(engine, held.array) for engine in (final, grown.engine, small)]
    plan = grown.engine.plan
    yield ProgressiveReport(
        reached=known[1] <= known[0],
        share=trial.share,
        bpb_final=known[0],
        bpb_progressive=known[1],
        bpb_start=known[2],
        cpu_seconds_final=used,
        cpu_seconds_progressive=grown.cpu_seconds,
        grown_to_final=grown.engine.num_parameters == final.num_parameters,
        growths=grown.what.count("kept"),
        undone=grown.what.count("undone"),
        grown_at=grown.grown_at,
        steps_final=steps,
        steps_progressive=plan.steps_done if plan else 0,
        num_parameters_start=count_parameters(trial.start),
        num_parameters_final=count_parameters(trial.final),
    )


def _engine(trial: ProgressiveTrial, model: ModelConfig) -> Engine:
    return Engine(EngineConfig(model=model, training=trial.training, mixing=None))


def _trained(
    trial: ProgressiveTrial, model: ModelConfig, seconds: float, train: ByteData
) -> Generator[float, None, tuple[Engine, int, float]]:
    engine = _engine(trial, model)
    learned = yield from train_on_cpu_clock(engine, train, TrainingPlan(seconds=seconds))
    return engine, learned.steps, learned.cpu_seconds


def _growing(trial: ProgressiveTrial, train: ByteData, held: ByteData) -> Generator[float, None, _Grown]:
    """As `train_on_cpu_clock`, with everything counted in."""
    seconds = trial.seconds * trial.share
    plan = TrainingPlan(seconds=seconds, validate_every=trial.validate_every, growing=Growing(settings=trial.rule))
    training, used, tried_at, grown_at = Progressive(_engine(trial, trial.start)), 0.0, 0.0, None
    started = time.process_time()
    for told in training.steps(train, plan, held.part(0, LOOK_BYTES)):
        used = time.process_time() - started
        on = training.engine.plan
        if on is not None:  # it counts wall seconds, and the schedule must follow this clock instead
            training.engine.plan = on.model_copy(update={"seconds_done": used})
        if isinstance(told, GrowthEvent):
            tried_at, grown_at = (used if told.what == "grown" else tried_at), (tried_at if told.what == "kept" else grown_at)
        yield min(1.0, used / seconds)
    on = training.engine.plan
    what = tuple(event.what for event in on.growing.events) if on and on.growing else ()
    return _Grown(training.engine, used, grown_at, what)


def _bits_per_byte(engine: Engine, data: NDArray[np.uint8]) -> float:
    found = scored(engine, data).bits_per_byte_network
    assert found is not None  # noqa: S101 - there is a network
    return found
