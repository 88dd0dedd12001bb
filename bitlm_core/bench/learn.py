"""How well a model knows data after a number of CPU seconds, and when it knew as much as a given figure says.

Without a network a model may have read all of the data before the seconds are over; then it ends there, and says how long
that took.

The first 90 % are learned, the last 10 % scored: every byte once, by the network alone, with context mixing frozen
(static), and with the mixer learning on (online). The clock is process CPU time and runs while training, not while scoring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import Trained, train_on_cpu_clock
from bitlm_core.bench.compressors import appended_bits_per_byte
from bitlm_core.bench.machine import clock, describe, require
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
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


def compressors_given_the_rest(data: bytes) -> dict[str, float]:
    """Bits per byte of what is scored, by other compressors that have seen what is learned."""
    return appended_bits_per_byte(*split(data))


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
    require(device)
    torch.set_num_threads(threads)
    engine = Engine(config, device)
    train, held = (bytes_in_memory(part) for part in split(data))
    looks = _Looks(engine, held, seconds, now := clock(1, device))
    plan = TrainingPlan(seconds=seconds, objective=objective)
    trained = yield from train_on_cpu_clock(engine, train, plan, now=now, look=looks)
    yield _report(engine, held, looks, trained, threads=threads, machine=describe(device))


def _report(engine: Engine, held: ByteData, looks: _Looks, trained: Trained, **told: Any) -> LearnReport:
    found = scored(engine, held.array)
    return LearnReport(
        bpb_network=found.bits_per_byte_network,
        bpb_static=found.bits_per_byte_static,
        bpb_online=found.bits_per_byte,
        bpb_bound=found.bits_per_byte_bound,
        seconds_to_2739=looks.reached.get("network"),
        seconds_to_2739_mixed=looks.reached.get("mixed"),
        cpu_seconds=trained.cpu_seconds,
        wall_seconds=trained.wall_seconds,
        steps=trained.steps,
        bytes_seen=trained.bytes_seen,
        bytes_scored=found.num_bytes,
        bytes_per_cpu_second=trained.bytes_seen / trained.cpu_seconds,
        num_parameters=engine.num_parameters,
        **told,
    )


class _Looks:
    """Looks from time to time whether the target is reached; reached: the seconds at which it first was."""

    def __init__(self, engine: Engine, held: ByteData, seconds: float, now: Callable[[], float]) -> None:
        self._engine, self._held, self._seconds, self._now = engine, held, seconds, now
        self._looks, self._spent = 0, 0.0
        self.reached: dict[str, float] = {}

    def __call__(self, used: float) -> None:
        if used < (self._looks + 1) * self._seconds / LOOKS or self._spent > used + FREE_LOOKS_S:
            return
        self._looks = int(used * LOOKS / self._seconds)
        began = self._now()
        found = {name: used for name, loss in self._losses() if loss <= TARGET * math.log(2)}
        self.reached = found | self.reached
        self._spent += self._now() - began

    def _losses(self) -> Iterator[tuple[str, float]]:
        """Held-out losses of what has not reached the target yet."""
        model, mixer = self._engine.model, self._engine.mixer
        if model and "network" not in self.reached:
            yield "network", held_out_loss(model, self._held)
        if mixer and "mixed" not in self.reached:
            yield "mixed", held_out_mixed_loss(model, mixer, self._held)


def scored(engine: Engine, data: NDArray[np.uint8]) -> Likelihood:
    """The engine's evaluation, run to its end."""
    return finished(engine.evaluate_steps(data))
