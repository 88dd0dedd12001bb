"""`bitlm bench telemetry`: what being watched costs a training, and whether drift is found where it is, and only there.

The cost is measured in the loop: a network trains, and at every step K, C and S are measured and watched as an engine does it;
process CPU time of that beside that of the step. Attention is looked at as often, and counted as rarely as by default.
Drift is looked for in simulated runs: curves that rise to a level as a network learns, with noise around it as it was measured
in runs of the preset tiny; in half of them a metric moves by `SHIFT` at some later time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core import learning
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import clock, describe
from bitlm_core.bench.report import Report
from bitlm_core.device import keeping_freed_memory
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.models.config import Preset
from bitlm_core.models.presets import preset_config
from bitlm_core.reading import Reader
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.training.data import byte_counts, bytes_in_memory

UNTIMED_STEPS = 2
SHIFT = 0.2
LEVELS = {"k": (0.0, 0.78), "c": (0.45, 0.72), "s": (0.45, 0.95)}
"""Where a metric starts, and where it settles."""
NOISE = {"k": 0.015, "c": 0.042, "s": 0.012}
"""Standard deviations of one measurement, a little above those of real runs (0.012, 0.038, 0.010)."""
MEASUREMENTS = 140
_SETTLES_BY = 80
"""Measurements after which a simulated run has learned, and before which no shift is planted."""


@dataclass(frozen=True)
class TelemetryReport(Report):
    """Milliseconds of CPU time per step, per measurement of K, C, S and per look at attention; and as shares of the step, the
    first at every step, the second every `attention_every` steps. Of `drift_runs` healthy simulated runs and as many with a
    shift: false alarms, shifts found within two windows, and how many measurements that took on average.
    """

    step_ms: float
    kcs_ms: float
    attention_ms: float
    kcs_share: float
    attention_share: float
    attention_every: int
    drift_runs: int
    drift_false_alarms: int
    drift_shifts: int
    drift_found: int
    drift_delay: float
    drift_window: int
    drift_threshold: float
    preset: str
    steps: int
    machine: str


def telemetry_steps(data: bytes, preset: Preset, *, steps: int, drift_runs: int) -> Iterator[float | TelemetryReport]:
    """Yields the share that is done, and last the report. One thread."""
    torch.set_num_threads(1)
    settings = TelemetryConfig()
    costs = []
    with keeping_freed_memory():
        for cost in _costs(data, preset, steps + UNTIMED_STEPS):
            costs.append(cost)
            yield 0.9 * len(costs) / (steps + UNTIMED_STEPS)
    step_s, kcs_s, attention_s = np.array(costs[UNTIMED_STEPS:]).mean(axis=0).tolist()
    alarms = [_first_alert(healthy_run(seed), settings) for seed in range(drift_runs)]
    yield 0.95
    delays = [_delay(seed, settings) for seed in range(drift_runs)]
    found = [delay for delay in delays if delay is not None]
    yield TelemetryReport(
        step_ms=1e3 * step_s,
        kcs_ms=1e3 * kcs_s,
        attention_ms=1e3 * attention_s,
        kcs_share=kcs_s / step_s,
        attention_share=attention_s / step_s / settings.attention_every,
        attention_every=settings.attention_every,
        drift_runs=drift_runs,
        drift_false_alarms=sum(alarm is not None for alarm in alarms),
        drift_shifts=drift_runs,
        drift_found=len(found),
        drift_delay=math.fsum(found) / len(found) if found else 0.0,
        drift_window=settings.drift_window,
        drift_threshold=settings.drift_threshold,
        preset=preset,
        steps=steps,
        machine=describe(),
    )


def _costs(data: bytes, preset: Preset, steps: int) -> Iterator[tuple[float, float, float]]:
    """CPU seconds of each step, of its measurement, and of a look at attention."""
    engine = Engine(EngineConfig(model=preset_config(preset), mixing=None))
    assert engine.trainer  # noqa: S101 - every preset has a network
    train = bytes_in_memory(split(data)[0])
    now, reader, settings = clock(1), Reader(None), TelemetryConfig(attention_every=1)
    reference = byte_counts(train.array).astype(np.float64)
    for step in range(steps):
        batch = learning.sample_batch(reader, train, engine.config, step)
        times = [now()]
        result = engine.trainer.step(batch, objective="causal", step=step, progress=step / steps)
        times.append(now())
        found = learning.measure_batch(engine.trainer.model, batch, result, reference, settings)
        engine.drift.observe(step, found.watched(settings) if found else {})
        times.append(now())
        with engine.trainer.training_dtype():
            learning.measure_attention(engine.trainer.model, batch, settings, step)
        times.append(now())
        yield times[1] - times[0], times[2] - times[1], times[3] - times[2]


def healthy_run(seed: int) -> dict[str, NDArray[np.float64]]:
    """[MEASUREMENTS] of each metric of a run in which nothing goes wrong."""
    chance = np.random.default_rng([11, seed])
    speed = chance.uniform(1.0, 8.0)  # measurements in which two thirds of the way are made
    rise = np.exp(-np.arange(MEASUREMENTS) / speed)
    run = {}
    for metric, (start, level) in LEVELS.items():
        run[metric] = level + (start - level) * rise + NOISE[metric] * chance.standard_normal(MEASUREMENTS)
    return {metric: np.clip(values, 0.0, 1.0) for metric, values in run.items()}


def shifted_run(seed: int) -> tuple[dict[str, NDArray[np.float64]], str, int]:
    """A healthy run in which one metric moves by `SHIFT`, down where up there is no room; which one, and when."""
    chance, run = np.random.default_rng([13, seed]), healthy_run(seed)
    metric = ("k", "c", "s")[seed % 3]
    at = int(chance.integers(_SETTLES_BY, MEASUREMENTS - 2 * TelemetryConfig().drift_window))
    up = chance.random() < 0.5 and LEVELS[metric][1] + SHIFT + 3 * NOISE[metric] <= 1
    run[metric][at:] += SHIFT if up else -SHIFT
    return run, metric, at


def _first_alert(run: dict[str, NDArray[np.float64]], settings: TelemetryConfig) -> tuple[int, str] | None:
    detector = settings.drift_detector()
    for index in range(MEASUREMENTS):
        for alert in detector.observe(index, {metric: float(values[index]) for metric, values in run.items()}):
            return index, alert.metric
    return None


def _delay(seed: int, settings: TelemetryConfig) -> int | None:
    """Measurements from a shift to its alert; None where it is not found within two windows, or something else is."""
    run, metric, at = shifted_run(seed)
    alert = _first_alert(run, settings)
    if alert is None or alert[1] != metric or not at <= alert[0] < at + 2 * settings.drift_window:
        return None
    return alert[0] - at + 1
