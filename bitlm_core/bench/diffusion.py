"""How well a network that learns by diffusion knows data after a number of CPU seconds: the bound, and holes restored.

The first 90 % are learned, the last 10 % scored. The clock is process CPU time and runs while training, not while scoring.
Holes stand in the middle of windows of held-out data and are filled as diffusion_sample fills them at temperature 0; told is
the mean share of their bytes that come back exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import Trained, train_on_cpu_clock
from bitlm_core.bench.diffusion_samples import SampleFigures, judge_steps
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.likeliest import likeliest_steps
from bitlm_core.generation.template import HIDDEN, KNOWN
from bitlm_core.learning import held_out_bound, held_out_loss
from bitlm_core.models.interface import LanguageModel
from bitlm_core.steps import finished, scaled
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory

HOLES = 512
"""Windows with a hole, of each size."""
HOLE_WINDOW = 128
_ROWS = 32


@dataclass(frozen=True)
class DiffusionReport(Report):
    """The outcome; bits per byte, seconds of process CPU time, bytes.

    `bpb_bound`: an upper bound, see `scoring.bound`, and its standard error. `bpb_causal`: reading from left to right, where
    that was trained too. `holes_1`, `holes_2`, `holes_4`: the share of the bytes of holes of that size
    that were restored. `samples_…`: of samples of the default kind, see `bench.diffusion_samples`, where they were asked for.
    """

    bpb_bound: float
    bpb_bound_error: float
    bpb_causal: float | None
    holes_1: float
    holes_2: float
    holes_4: float
    samples_bpb: float | None
    samples_byte_entropy: float | None
    samples_distinct_4grams: float | None
    cpu_seconds: float
    wall_seconds: float
    steps: int
    bytes_seen: int
    bytes_scored: int
    bytes_per_cpu_second: float
    num_parameters: int
    threads: int
    machine: str


def diffusion_bench_steps(
    data: bytes, config: EngineConfig, plan: TrainingPlan, *, threads: int, sampled: bool = False
) -> Iterator[float | DiffusionReport]:
    """Yields the share of the plan's seconds used after each step, and last the report.

    sampled: learn as long again for a judge of samples. Raises ConfigError for a plan without seconds or without diffusion, and
    for data too short for a window with a hole.
    """
    learned, held = (bytes_in_memory(part) for part in split(data))
    if plan.seconds is None or plan.objective == "causal":
        raise ConfigError(f"seconds={plan.seconds}, objective={plan.objective!r}: give seconds, and 'diffusion' or 'mixed'")
    if len(held) < HOLE_WINDOW:
        raise ConfigError(f"the last tenth has {len(held)} bytes, and holes stand in windows of {HOLE_WINDOW}: give more data")
    torch.set_num_threads(threads)
    engine = Engine(config)
    trained = yield from scaled(train_on_cpu_clock(engine, learned, plan), 0.0, 0.5 if sampled else 1.0)
    model, samples = engine.model, None
    assert model is not None  # noqa: S101 - what has no network refuses the plan
    if sampled:
        ways = [DiffusionSampling()]
        for told in judge_steps(model, learned, held.array.tobytes(), ways, seconds=plan.seconds):
            if isinstance(told, float):
                yield (1 + told) / 2
            else:
                samples = told  # those of held-out text first
    yield _report(model, held, plan, trained, samples, engine=engine, threads=threads)


def _report(
    model: LanguageModel,
    held: ByteData,
    plan: TrainingPlan,
    trained: Trained,
    samples: SampleFigures | None,
    *,
    engine: Engine,
    threads: int,
) -> DiffusionReport:
    bound = held_out_bound(model, held)
    holes = {size: restored(model, held.array, size) for size in (1, 2, 4)}
    return DiffusionReport(
        bpb_bound=bound.bits_per_byte_bound,
        bpb_bound_error=bound.standard_error,
        bpb_causal=held_out_loss(model, held) / math.log(2) if plan.objective == "mixed" else None,
        holes_1=holes[1],
        holes_2=holes[2],
        holes_4=holes[4],
        samples_bpb=samples.bpb if samples else None,
        samples_byte_entropy=samples.byte_entropy if samples else None,
        samples_distinct_4grams=samples.distinct_4grams if samples else None,
        cpu_seconds=trained.cpu_seconds,
        wall_seconds=trained.wall_seconds,
        steps=trained.steps,
        bytes_seen=trained.bytes_seen,
        bytes_scored=bound.num_bytes,
        bytes_per_cpu_second=trained.bytes_seen / trained.cpu_seconds,
        num_parameters=engine.num_parameters,
        threads=threads,
        machine=describe(),
    )


def restored(model: LanguageModel, data: NDArray[np.uint8], size: int) -> float:
    """The share of the bytes of holes of that size that are restored, in up to `HOLES` windows spread over the data."""
    window = min(HOLE_WINDOW, model.config.max_bytes)
    starts = np.unique(np.linspace(0, len(data) - window, HOLES).astype(np.int64))
    places = slice((window - size) // 2, (window - size) // 2 + size)
    right = 0
    for begin in range(0, len(starts), _ROWS):
        rows = torch.from_numpy(np.stack([data[at : at + window] for at in starts[begin : begin + _ROWS]]).astype(np.int64))
        known = torch.full_like(rows, KNOWN)
        known[:, places] = HIDDEN
        right += int((finished(likeliest_steps(model, rows * (known > 0), known)).bytes == rows[:, places]).sum())
    return right / (size * len(starts))
