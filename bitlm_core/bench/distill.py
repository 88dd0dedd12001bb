"""What distilling is worth: a teacher, a student of it, and a network of the student's sizes that had no teacher.

All learn the first 90 % of the data and are scored on the rest, each network alone. The teacher trains for its seconds, the
student for others, of process CPU time: the teacher's forward passes for it count, the teacher's own training does not. The
one without a teacher gets all CPU time that distilling took, grouping windows and looking at held-out data included.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.models.config import Preset
from bitlm_core.models.presets import preset_config
from bitlm_core.steps import finished, mapped
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import bytes_in_memory
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.distill_report import UNIFORM
from bitlm_core.transform.distillation import distill_steps
from bitlm_core.transform.lessons import known_steps
from bitlm_core.transform.students import student_config, target_config

Returned = TypeVar("Returned")


@dataclass(frozen=True)
class DistillTrial:
    """What is compared. preset: of the teacher; student: fields of `target_config`, none for about a quarter of the teacher.

    teacher_seconds, seconds: CPU, of the teacher's training and of the student's. distilling: fields of DistillConfig.
    """

    teacher_seconds: float
    seconds: float
    preset: Preset = "small"
    student: Mapping[str, Any] = field(default_factory=dict)
    distilling: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class DistillBenchReport(Report):
    """Bits per byte of held-out data, shares of the teacher's gain over a uniform model, seconds of process CPU time.

    alone: the network without a teacher. Parameters with the tables of n-grams, and outside of them. kl: nats per byte.
    """

    bpb_teacher: float
    bpb_student: float
    bpb_alone: float
    gain_kept: float
    gain_kept_alone: float
    kl: float
    parameters_teacher: int
    parameters_student: int
    parameters_share: float
    outside_tables_teacher: int
    outside_tables_student: int
    outside_tables_share: float
    seconds_teacher: float
    seconds_student: float
    seconds_alone: float
    steps_teacher: int
    steps_student: int
    steps_alone: int
    bytes_scored: int
    machine: str


def distill_bench_steps(data: bytes, trial: DistillTrial) -> Iterator[float | DistillBenchReport]:
    """Yields the share of all CPU seconds used, and last the report. Raises ConfigError for data too short to learn from."""
    torch.set_num_threads(1)
    train, held = (bytes_in_memory(part) for part in split(data))
    if len(held) < 2:
        raise ConfigError(f"{len(data)} bytes leave {len(held)} to be scored: give at least 20")
    total, begun = trial.teacher_seconds + 2 * trial.seconds, time.process_time()
    teacher = Engine(EngineConfig(model=preset_config(trial.preset), training=trial.training, mixing=None))
    learned = yield from _sharing(train_on_cpu_clock(teacher, train, TrainingPlan(seconds=trial.teacher_seconds)), begun, total)
    config = student_config(teacher.config, target_config(teacher.config.model, **trial.student))
    settings = DistillConfig(**{"seconds": trial.seconds, "max_rounds": 1, **trial.distilling})
    started = time.process_time()
    found = yield from _sharing(distill_steps(teacher, train, held, config, settings, now=time.process_time), begun, total)
    used = time.process_time() - started
    alone = Engine(config)
    by_itself = yield from _sharing(train_on_cpu_clock(alone, train, TrainingPlan(seconds=used)), begun, total)
    told, one = found.report, found.report.kept
    without = finished(known_steps(alone, held))
    yield DistillBenchReport(
        bpb_teacher=told.teacher_bits_per_byte,
        bpb_student=one.bits_per_byte,
        bpb_alone=without,
        gain_kept=one.gain_kept,
        gain_kept_alone=(UNIFORM - without) / (UNIFORM - told.teacher_bits_per_byte),
        kl=one.kl or 0.0,
        parameters_teacher=told.teacher_parameters,
        parameters_student=one.num_parameters,
        parameters_share=one.num_parameters / told.teacher_parameters,
        outside_tables_teacher=told.teacher_outside_tables,
        outside_tables_student=one.parameters_outside_tables,
        outside_tables_share=one.parameters_outside_tables / told.teacher_outside_tables,
        seconds_teacher=learned.cpu_seconds,
        seconds_student=used,
        seconds_alone=by_itself.cpu_seconds,
        steps_teacher=learned.steps,
        steps_student=one.steps,
        steps_alone=by_itself.steps,
        bytes_scored=len(held),
        machine=describe(),
    )


def _sharing(steps: Generator[Any, None, Returned], begun: float, total: float) -> Generator[float, None, Returned]:
    """The same steps, which tell how much of all CPU seconds is used."""
    return mapped(steps, lambda _: min(1.0, (time.process_time() - begun) / total))
