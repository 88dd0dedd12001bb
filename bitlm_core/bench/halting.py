"""`bitlm bench halting`: what halting saves on real data, and what it costs in bits per byte.

Two networks that differ in nothing else learn the first 90 % of the data for the same number of steps, in turns; then each is
timed on the same batches, again in turns, and scored on the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bitlm_core.bench.learn import scored, split
from bitlm_core.bench.machine import clock, describe, typical
from bitlm_core.bench.report import Report
from bitlm_core.device import keeping_freed_memory
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.models.config import Preset
from bitlm_core.models.presets import preset_config
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory

TIMED_STEPS = 16


@dataclass(frozen=True)
class HaltingReport(Report):
    """Bits per byte of the held-out bytes without and with halting; milliseconds of CPU time of a trained network's step
    (medians); layers per position and layers there are."""

    bpb_plain: float
    bpb_halting: float
    bpb_ratio: float
    step_ms_plain: float
    step_ms_halting: float
    step_ratio: float
    mean_layers: float
    num_layers: int
    ponder_cost: float
    steps: int
    machine: str


def halting_steps(
    data: bytes, preset: Preset, *, num_layers: int, ponder_cost: float, steps: int
) -> Iterator[float | HaltingReport]:
    """Yields the share that is done, and last the report. One thread."""
    torch.set_num_threads(1)
    train, held = (bytes_in_memory(part) for part in split(data))
    training = TrainingConfig(ponder_cost=ponder_cost)
    plain, halting = (
        Engine(EngineConfig(model=preset_config(preset, num_layers=num_layers, use_act=act), training=training, mixing=None))
        for act in (False, True)
    )
    learning = [engine.train_steps(train, TrainingPlan(steps=steps)) for engine in (plain, halting)]
    for done in range(steps):
        report = [next(steps_of) for steps_of in learning][1]
        yield (done + 1) / steps
    spent = _timed([plain, halting], train)
    bits = [scored(engine, held.array).bits_per_byte for engine in (plain, halting)]
    yield HaltingReport(
        bpb_plain=bits[0],
        bpb_halting=bits[1],
        bpb_ratio=bits[1] / bits[0],
        step_ms_plain=1e3 * spent[0],
        step_ms_halting=1e3 * spent[1],
        step_ratio=spent[1] / spent[0],
        mean_layers=report.mean_layers or 0.0,
        num_layers=num_layers,
        ponder_cost=ponder_cost,
        steps=steps,
        machine=describe(),
    )


def _timed(engines: list[Engine], data: ByteData) -> list[float]:
    """Seconds of one optimizer step at a learning rate of zero, on the same batches."""
    now = clock(1)
    spent: list[list[float]] = [[] for _ in engines]
    with keeping_freed_memory():
        for step in range(TIMED_STEPS):
            for engine, durations in zip(engines, spent, strict=True):
                assert engine.trainer  # noqa: S101 - both have a network
                batch = sample_windows(
                    data, batch=engine.config.training.batch_size, length=engine.config.model.max_bytes, seed=1, step=step
                )
                started = now()
                engine.trainer.step(batch, objective="causal", step=engine.step + step, progress=1.0)
                durations.append(now() - started)
    return [typical(durations) for durations in spent]
