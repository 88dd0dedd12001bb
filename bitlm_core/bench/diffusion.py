"""How well a network that learns by diffusion knows data after a number of CPU seconds: the bound, and holes restored.

The first 90 % are learned, the last 10 % scored. The clock is process CPU time and runs while training, not while scoring.
Holes stand in the middle of windows of held-out data and are filled byte by byte, the likeliest byte of the place where the
network is most certain first; told is the mean share of their bytes that come back exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.bench.clock import Trained, train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.learning import held_out_bound, held_out_loss
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs
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
    that were restored.
    """

    bpb_bound: float
    bpb_bound_error: float
    bpb_causal: float | None
    holes_1: float
    holes_2: float
    holes_4: float
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
    data: bytes, config: EngineConfig, plan: TrainingPlan, *, threads: int
) -> Iterator[float | DiffusionReport]:
    """Yields the share of the plan's seconds used after each step, and last the report.

    Raises ConfigError for a plan without seconds or without diffusion, and for data too short for a window with a hole.
    """
    train, held = (bytes_in_memory(part) for part in split(data))
    if plan.seconds is None or plan.objective == "causal":
        raise ConfigError(f"seconds={plan.seconds}, objective={plan.objective!r}: give seconds, and 'diffusion' or 'mixed'")
    if len(held) < HOLE_WINDOW:
        raise ConfigError(f"the last tenth has {len(held)} bytes, and holes stand in windows of {HOLE_WINDOW}: give more data")
    torch.set_num_threads(threads)
    engine = Engine(config)
    trained = yield from train_on_cpu_clock(engine, train, plan)
    assert engine.model is not None  # noqa: S101 - what has no network refuses the plan
    yield _report(engine.model, held, plan, trained, engine=engine, threads=threads)


def _report(
    model: LanguageModel,
    held: ByteData,
    plan: TrainingPlan,
    trained: Trained,
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
        right += int((fill_greedily(model, rows, places)[:, places] == rows[:, places]).sum())
    return right / (size * len(starts))


@torch.no_grad()
def fill_greedily(model: LanguageModel, data_BT: Tensor, places: slice) -> Tensor:
    """[B, T] the same with the bytes at `places` told by the model, which does not see them; the most certain one first."""
    data_BT, known_BT = data_BT.clone(), torch.full_like(data_BT, 255)
    known_BT[:, places] = 0
    rows = torch.arange(len(data_BT))
    for _ in range(places.stop - places.start):
        nodes = model.predict_masked(data_BT, known_BT).nodes[:, places].cpu()
        certainty, byte = byte_log_probs(nodes).max(dim=-1)
        chosen = certainty.masked_fill(known_BT[:, places] == 255, -torch.inf).argmax(dim=1)
        data_BT[rows, places.start + chosen] = byte[rows, chosen]
        known_BT[rows, places.start + chosen] = 255
    return data_BT
