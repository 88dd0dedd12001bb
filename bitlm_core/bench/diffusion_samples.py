"""How good samples of a diffusion model are, by three figures that must be read together.

`bpb`: bits per byte under a causal model that learned the same data: low where every byte fits what stands before it. What
repeats itself fits very well, so the two others say whether it does: `byte_entropy`, of all bytes of all samples, and
`distinct_4grams`, the share of different ones among all windows of four bytes. Both depend on how many bytes there are, so they
are compared with as much held-out text: nothing can be asked of samples that the text itself does not reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.masked_diffusion import filling_steps
from bitlm_core.generation.template import Template
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_nats
from bitlm_core.models.presets import preset_config
from bitlm_core.steps import finished
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory

SAMPLES, SAMPLE_BYTES = 48, 128


@dataclass(frozen=True)
class SampleFigures(Report):
    """The three figures of samples, and how they were drawn. `order`: text for held-out text, flip for that method."""

    order: str
    steps: int
    temperature: float
    bpb: float
    byte_entropy: float
    distinct_4grams: float


def sample_figures(
    model: LanguageModel,
    judge: LanguageModel,
    held: bytes,
    samplings: Sequence[DiffusionSampling],
    *,
    samples: int = SAMPLES,
    num_bytes: int = SAMPLE_BYTES,
) -> Iterator[float | SampleFigures]:
    """Draw samples of nothing known in each of the given ways; yields the share done, and after each way its figures.

    First come those of held-out text, pieces spread over it. Raises ConfigError where it is shorter than one piece.
    """
    if len(held) < num_bytes:
        raise ConfigError(f"{len(held)} bytes of held-out text are less than a sample of {num_bytes}: give more data")
    starts = np.linspace(0, len(held) - num_bytes, samples).astype(int)
    pieces = np.stack([np.frombuffer(held, np.uint8, num_bytes, start) for start in starts])
    yield _figures(judge, pieces, "text", 0, 1.0)
    template = Template.between(b"", num_bytes)
    for index, sampling in enumerate(samplings):
        drawn = np.empty((samples, num_bytes), np.uint8)
        order, steps = "", 0
        for row in range(samples):
            filling = finished(filling_steps(model, template, sampling.model_copy(update={"seed": sampling.seed + row})))
            drawn[row] = np.frombuffer(filling.data, np.uint8)
            order, steps = filling.order or "flip", filling.steps
            yield (index + (row + 1) / samples) / len(samplings)
        yield _figures(judge, drawn, order, steps, sampling.temperature)


def learn_and_sample_steps(
    data: bytes, config: EngineConfig, samplings: Sequence[DiffusionSampling], *, seconds: float, threads: int
) -> Iterator[float | SampleFigures]:
    """Learn the first 90 % of the data for some CPU seconds by diffusion, and as long causally for the judge; then sample.

    Yields the share done, and after each way of sampling its figures, those of the held-out text first.
    Raises ConfigError for data too short to learn from.
    """
    torch.set_num_threads(threads)
    train, held = split(data)
    engine, learned = Engine(config), bytes_in_memory(train)
    for share in train_on_cpu_clock(engine, learned, TrainingPlan(objective="diffusion", seconds=seconds)):
        yield share / 3
    model = engine.model
    assert model is not None  # noqa: S101 - what has no network refuses the plan
    told: float | SampleFigures
    for told in judge_steps(model, learned, held, samplings, seconds=seconds):
        yield (1 + 2 * told) / 3 if isinstance(told, float) else told


def judge_steps(
    model: LanguageModel, learned: ByteData, held: bytes, samplings: Sequence[DiffusionSampling], *, seconds: float
) -> Iterator[float | SampleFigures]:
    """Have a judge learn causally what the model has learned, for some CPU seconds, then sample as `sample_figures` does.

    The judge is the preset of networks without any choice, whatever the model, so that models have the same one.
    """
    judge = Engine(EngineConfig(model=preset_config(), mixing=None))
    for share in train_on_cpu_clock(judge, learned, TrainingPlan(seconds=seconds)):
        yield share / 2
    assert judge.model is not None  # noqa: S101 - the same network, reading from left to right
    for told in sample_figures(model, judge.model, held, samplings, samples=SAMPLES):
        yield (1 + told) / 2 if isinstance(told, float) else told


def _figures(judge: LanguageModel, rows: NDArray[np.uint8], order: str, steps: int, temperature: float) -> SampleFigures:
    return SampleFigures(
        order,
        steps,
        temperature,
        bpb=judged_bits(judge, rows),
        byte_entropy=byte_entropy(rows),
        distinct_4grams=distinct_share(rows, 4),
    )


@torch.no_grad()
def judged_bits(judge: LanguageModel, rows: NDArray[np.uint8]) -> float:
    """Mean bits per byte of each byte but the first of each row [N, T], given the ones before it in its row."""
    nats = 0.0
    for row in torch.from_numpy(rows.astype(np.int64)):
        logits = judge.path_logits(row[None]).cpu()
        nats += float(path_nats(logits, row[None])[:, 1:].double().sum())
    return nats / (math.log(2) * rows[:, 1:].size)


def byte_entropy(rows: NDArray[np.uint8]) -> float:
    """Entropy of all bytes together, in bits."""
    share = np.bincount(rows.ravel(), minlength=256) / rows.size
    seen = share[share > 0]
    return float(-(seen * np.log2(seen)).sum())


def distinct_share(rows: NDArray[np.uint8], length: int) -> float:
    """Different windows of `length` bytes, as a share of all; none reaches over the end of its row."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, length, axis=1).reshape(-1, length)
    return len(np.unique(windows, axis=0)) / len(windows)
