"""How well a model knows data after a number of CPU seconds, and when it knew as much as a given figure says.

Without a network a model may have read all of the data before the seconds are over; then it ends there, and says how long
that took.

The first 90 % are learned, the last 10 % scored: every byte once, by the network alone, with context mixing frozen
(static), and with the mixer learning on (online). The clock is process CPU time and runs while training, not while scoring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.learning import held_out_loss, held_out_mixed_loss
from bitlm_core.scoring.likelihood import Likelihood
from bitlm_core.steps import finished
from bitlm_core.training.config import Objective, TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory

TRAIN_SHARE = 0.9
TARGET = 2.739
"""Bits per byte of nanoGPT's CPU recipe on tinyshakespeare after 180 CPU-s."""
LOOKS = 50
"""How often, at most, it is looked whether the target is reached; the clock stands still meanwhile.

Less often where looking has taken longer than learning and `FREE_LOOKS_S`: a large model on data that never reaches it."""
FREE_LOOKS_S = 60.0


@dataclass(frozen=True)
class LearnReport(Report):
    """The outcome; bits per byte, seconds of process CPU time, bytes.

    `bpb_network`: None where there is no network. `seconds_to_2739`: when the network alone was first at `TARGET` on a sample
    of the held-out bytes, `seconds_to_2739_mixed` the same with context mixing, frozen; None: never. `bpb_bound`: where
    masked diffusion was learned too, see `scoring.bound`.
    """

    bpb_network: float | None
    bpb_static: float
    bpb_online: float
    bpb_bound: float | None
    seconds_to_2739: float | None
    seconds_to_2739_mixed: float | None
    cpu_seconds: float
    wall_seconds: float
    steps: int
    bytes_seen: int
    bytes_scored: int
    bytes_per_cpu_second: float
    num_parameters: int
    threads: int
    machine: str


def split(data: bytes) -> tuple[bytes, bytes]:
    """What is learned, and what is scored."""
    cut = int(len(data) * TRAIN_SHARE)
    return data[:cut], data[cut:]


def learn_steps(
    data: bytes,
    config: EngineConfig,
    *,
    seconds: float,
    threads: int,
    device: str = "cpu",
    objective: Objective = "causal",
) -> Iterator[float | LearnReport]:
    """Yields the share of the CPU seconds used after each step, and last the report. On a GPU seconds are of the wall.

    objective `mixed` learns masked diffusion in the same time. Raises ConfigError where there is no such device, and for data
    too short to learn from.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"torch {torch.__version__} finds no CUDA device on this machine: use the device cpu")
    torch.set_num_threads(threads)
    engine = Engine(config, device)
    train, held = (bytes_in_memory(part) for part in split(data))
    now = time.perf_counter if device == "cuda" else time.process_time
    started, wall, paused = now(), time.perf_counter(), 0.0
    # The plan counts wall seconds; the schedule must follow the CPU clock instead, so the plan is moved along by hand.
    plan, seen, used, looks = TrainingPlan(seconds=seconds, objective=objective), 0, 0.0, 0
    reached: dict[str, float] = {}
    for report in engine.train_steps(train, plan):
        seen += report.num_bytes
        used = now() - started - paused
        plan = plan.model_copy(update={"steps_done": plan.steps_done + 1, "seconds_done": used})
        engine.plan = plan.model_copy(update={"all_read": engine.plan is not None and engine.plan.all_read})
        if used >= (looks + 1) * seconds / LOOKS and paused <= used + FREE_LOOKS_S:
            looks = int(used * LOOKS / seconds)
            looked = now()
            reached = {name: used for name, loss in _losses(engine, held, reached) if loss <= TARGET * math.log(2)} | reached
            paused += now() - looked
        yield min(1.0, used / seconds)
    wall = time.perf_counter() - wall
    times = {"cpu_seconds": used, "wall_seconds": wall, "bytes_per_cpu_second": seen / used}
    yield _report(engine, held, reached, steps=plan.steps_done, bytes_seen=seen, threads=threads, **times)


def _report(engine: Engine, held: ByteData, reached: Mapping[str, float], **told: Any) -> LearnReport:
    found = scored(engine, held.array)
    return LearnReport(
        bpb_network=found.bits_per_byte_network,
        bpb_static=found.bits_per_byte_static,
        bpb_online=found.bits_per_byte,
        bpb_bound=found.bits_per_byte_bound,
        seconds_to_2739=reached.get("network"),
        seconds_to_2739_mixed=reached.get("mixed"),
        bytes_scored=found.num_bytes,
        num_parameters=engine.num_parameters,
        machine=describe(),
        **told,
    )


def _losses(engine: Engine, held: ByteData, reached: Container[str]) -> Iterator[tuple[str, float]]:
    """Held-out losses of what has not reached the target yet."""
    if engine.model and "network" not in reached:
        yield "network", held_out_loss(engine.model, held)
    if engine.mixer and "mixed" not in reached:
        yield "mixed", held_out_mixed_loss(engine.model, engine.mixer, held)


def scored(engine: Engine, data: NDArray[np.uint8]) -> Likelihood:
    """The engine's evaluation, run to its end."""
    return finished(engine.evaluate_steps(data))
