"""Distillation: a smaller network that keeps what a larger one has learned.

    teacher ─ windows grouped by how it computes on them ─→ medoids, shown first ┐
    data ─ windows ─→ teacher's probabilities (KL) and the data's own loss ──────┴─→ student ─ held-out data ─→ gain, K, C, S
                                                                               larger ←─ too little of it, or below a floor

What a network gains is what it saves against a uniform model, 8 bits per byte; of its teacher's gain a student keeps

    (8 − bits per byte of the student) / (8 − bits per byte of the teacher)

each network alone, on the same held-out data (a teacher without a network: its context mixing, frozen). While that is below
`min_gain`, or K, C or S below a floor, the next round trains a larger student from the beginning: a layer deeper, then wider,
once, then a layer deeper each time. The best of them is kept. A student that has context mixing reads the data beside it, as
in any training: its statistics are its own. The teacher is never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, NamedTuple

from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.models.config import ModelConfig, count_parameters
from bitlm_core.safety.floors import Floors
from bitlm_core.steps import finished, scaled
from bitlm_core.training.data import ByteData, bytes_in_memory
from bitlm_core.training.teaching import Teaching
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.distill_report import UNIFORM, DistillProgress, DistillReport, DistillRound
from bitlm_core.transform.lessons import PREPARED, Lesson, Returned, Told, alone, known_steps, taught_steps
from bitlm_core.transform.students import check_smaller, larger, outside_tables, student_config
from bitlm_core.transform.teachers import opened, representatives

HELD_BYTES = 1 << 18
"""Of held-out data, so much at its beginning is scored."""


class Distilled(NamedTuple):
    """The best student, and what became of all."""

    student: Engine
    report: DistillReport


Steps = Generator[DistillProgress, None, Distilled]


def distill_steps(
    teacher: Engine,
    data: ByteData,
    held: ByteData,
    student: EngineConfig,
    settings: DistillConfig,
    *,
    now: Callable[[], float] | None = None,
) -> Steps:
    """Distil a teacher into a student of this config (see `student_config`), or a larger one; it may be stopped at any yield.

    data: what the student learns, best what the teacher was trained on; held: what neither has seen. now: the clock of rounds
    of given seconds, if not the wall's. Raises ConfigError for too little data and for a student that is no smaller than its
    teacher, ModelStateError for a teacher that knows the held-out data no better than chance.
    """
    check_smaller(teacher.config.model, student.model)
    if min(len(data), len(held)) < 2:
        raise ConfigError(
            f"{len(data):,} bytes to learn from and {len(held):,} held out: a student needs 2 of each. Give more data, or hold "
            "out a part of it"
        )
    started, known = time.perf_counter(), teacher.config.model
    student = _reading(student, min(student.model.max_bytes, known.max_bytes))
    lesson = yield from _told(_prepared(teacher, data, held.part(0, HELD_BYTES), student, settings, now), settings, 0)
    device = "cpu" if teacher.model is None else str(teacher.model.device)
    kept: Engine | None = None
    told: list[DistillRound] = []
    for number, size in enumerate(larger(student.model, settings, known)):
        engine = Engine(student.model_copy(update={"model": size}), device)
        told.append((yield from _told(taught_steps(lesson, engine), settings, number)))
        if max(told, key=_rank) is told[-1]:
            kept = engine
        if _satisfies(told[-1], settings):
            break
    if kept is None:
        raise AssertionError("the first size is always tried")
    return Distilled(kept, _reported(known, lesson, told, time.perf_counter() - started))


def collapse_submodel(
    teacher: Engine,
    data: bytes,
    target: ModelConfig | None = None,
    *,
    floors: Floors | None = None,
    width_scale: float = 1.5,
    max_rounds: int = 3,
    seconds: float = 60.0,
) -> tuple[Engine, dict[str, Any]]:
    """`distill_steps` in one call, under the name that an earlier system had for it: the student, and `metrics.json` as a dict.

    The last tenth of the data is held out. target: the student's sizes; None: about a quarter of the teacher's.
    """
    cut = max(0, len(data) - max(2, len(data) // 10))
    settings = DistillConfig(seconds=seconds, floors=floors, width_scale=width_scale, max_rounds=max_rounds)
    student = student_config(teacher.config, target)
    found = finished(distill_steps(teacher, bytes_in_memory(data[:cut]), bytes_in_memory(data[cut:]), student, settings))
    return found.student, found.report.plain()


def _reading(student: EngineConfig, longest: int) -> EngineConfig:
    """The student's config with windows that are no longer than that, all of them data: a teacher says nothing of streams."""
    length = min(student.training.window_bytes or longest, longest)
    reads = {"window_bytes": length, "compress_prob": 0.0, "direct_prob": 0.0}
    return student.model_copy(update={"training": student.training.model_copy(update=reads)})


def _prepared(
    teacher: Engine,
    data: ByteData,
    held: ByteData,
    student: EngineConfig,
    settings: DistillConfig,
    now: Callable[[], float] | None,
) -> Generator[Told, None, Lesson]:
    """What all rounds need: the teacher's beliefs, how well it knows the held-out data, and the medoids."""
    guide = yield from alone(scaled(opened(teacher, data), 0.0, 0.03))
    known = yield from alone(scaled(known_steps(teacher, held), 0.03, 0.06))
    if known >= UNIFORM:
        raise ModelStateError(
            f"the teacher knows the held-out data at {known:.3f} bits per byte, no better than chance (8): train it first, or "
            "give data like what it was trained on"
        )
    teaching = Teaching(guide.ask, settings.data_weight, settings.teacher_weight, taught_from=settings.taught_from)
    if settings.num_clusters:
        how: dict[str, Any] = {"length": student.training.window_bytes, "looked_at": settings.looked_at}
        looking = representatives(guide, data, **how, num_clusters=settings.num_clusters, seed=student.seed)
        examples = yield from alone(scaled(looking, 0.06, PREPARED))
        share, until = settings.example_share, settings.examples_until
        teaching = replace(teaching, examples=examples, example_share=share, examples_until=until)
    return Lesson(guide, data, held, teaching, settings, settings.floors or teacher.config.floors, known, now)


def _told(
    steps: Generator[Told, None, Returned], settings: DistillConfig, number: int
) -> Generator[DistillProgress, None, Returned]:
    """Shares of round `number` (from 0) as those of all rounds that there may be."""
    while True:
        try:
            share, report = next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned
        yield DistillProgress((number + share) / settings.max_rounds, number + 1, report)


def _reported(teacher: ModelConfig, lesson: Lesson, told: list[DistillRound], seconds: float) -> DistillReport:
    best = told.index(max(told, key=_rank))
    reached = _satisfies(told[best], lesson.settings)
    tried_all = len(told) == lesson.settings.max_rounds
    return DistillReport(
        teacher_bits_per_byte=lesson.known,
        teacher_parameters=count_parameters(teacher),
        teacher_outside_tables=outside_tables(teacher),
        num_medoids=0 if lesson.teaching.examples is None else len(lesson.teaching.examples.data),
        rounds=tuple(told),
        best=best,
        reached=reached,
        ended="reached" if reached else "max_rounds" if tried_all else "as large as the teacher",
        seconds=seconds,
    )


def _rank(one: DistillRound) -> tuple[bool, float]:
    """A student that passes the floors before one that does not; then by what it keeps."""
    return not one.below, one.gain_kept


def _satisfies(one: DistillRound, settings: DistillConfig) -> bool:
    return not one.below and one.gain_kept >= settings.min_gain
