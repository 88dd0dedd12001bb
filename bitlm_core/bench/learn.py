"""How well the default model knows data after a number of CPU seconds.

The first 90 % are learned, the last 10 % scored: every byte once, by the network alone, with context mixing frozen
(static), and with the mixer learning on (online). The clock is process CPU time and runs while training, not while scoring.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.scoring.likelihood import Likelihood
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import bytes_in_memory

TRAIN_SHARE = 0.9


@dataclass(frozen=True)
class LearnReport:
    """The outcome; bits per byte, seconds of process CPU time, bytes."""

    bpb_network: float
    bpb_static: float
    bpb_online: float
    cpu_seconds: float
    wall_seconds: float
    steps: int
    bytes_seen: int
    bytes_scored: int
    bytes_per_cpu_second: float
    num_parameters: int
    threads: int
    torch: str
    machine: str

    def flat(self) -> dict[str, float | int | str]:
        """For the last line, as JSON."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def learn_steps(data: bytes, config: EngineConfig, *, seconds: float, threads: int) -> Iterator[float | LearnReport]:
    """Yields the share of the CPU seconds used after each step, and last the report."""
    torch.set_num_threads(threads)
    engine = Engine(config)
    cut = int(len(data) * TRAIN_SHARE)
    train, held = bytes_in_memory(data[:cut]), bytes_in_memory(data[cut:])
    started, wall = time.process_time(), time.perf_counter()
    # The plan counts wall seconds; the schedule must follow the CPU clock instead, so the plan is moved along by hand.
    plan, seen = TrainingPlan(seconds=seconds), 0
    while not plan.finished:
        for report in engine.train_steps(train, plan):
            seen += report.num_bytes
            break
        used = time.process_time() - started
        plan = plan.model_copy(update={"steps_done": plan.steps_done + 1, "seconds_done": used})
        yield min(1.0, used / seconds)
    used, wall = time.process_time() - started, time.perf_counter() - wall
    found: Likelihood | None = None
    scoring = engine.evaluate_steps(held.array)
    while found is None:
        try:
            next(scoring)
        except StopIteration as stop:
            found = stop.value
    yield LearnReport(
        bpb_network=found.bits_per_byte_network,
        bpb_static=found.bits_per_byte_static,
        bpb_online=found.bits_per_byte,
        cpu_seconds=used,
        wall_seconds=wall,
        steps=plan.steps_done,
        bytes_seen=seen,
        bytes_scored=found.num_bytes,
        bytes_per_cpu_second=seen / used,
        num_parameters=engine.num_parameters,
        threads=threads,
        torch=torch.__version__,
        machine=f"{platform.machine()} {platform.processor() or platform.system()}",
    )
