"""One round of a distillation: a student is trained, and then it is seen what it has learned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from bitlm_core.engine import Engine
from bitlm_core.layers.halting import Trace
from bitlm_core.learning import TELEMETRY_ROWS, StepReport, measure_batch
from bitlm_core.models.interface import LanguageModel
from bitlm_core.safety.floors import Floors
from bitlm_core.scoring.likelihood import score_steps
from bitlm_core.steps import mapped, scaled
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.snapshot import TelemetrySnapshot
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.data import ByteData
from bitlm_core.training.teaching import Beliefs, Teaching, divergence
from bitlm_core.training.trainer import StepResult, Trainer
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.distill_report import UNIFORM, DistillRound
from bitlm_core.transform.students import outside_tables
from bitlm_core.transform.teachers import Teacher

Returned = TypeVar("Returned")

PREPARED, TRAINED = 0.1, 0.9
"""Shares of a round when its training begins and ends: before the first, there is something to prepare."""
_WINDOWS_SEED = 0  # the same windows for every student


@dataclass(frozen=True)
class Lesson:
    """What all rounds have in common. known: the teacher's bits per byte of the held-out data; now: see `distill_steps`."""

    guide: Teacher
    data: ByteData
    held: ByteData
    teaching: Teaching
    settings: DistillConfig
    floors: Floors
    known: float
    now: Callable[[], float] | None

    def train(self, student: Engine) -> Iterator[tuple[float, StepReport]]:
        """The share of the round's budget that is used, and the report, after each step."""
        _, trainer = network_of(student)
        trainer.teaching = self.teaching
        begin = self.now() if self.now else 0.0
        for report in student.train_steps(self.data, self.settings.plan):
            if student.plan is None:
                raise AssertionError("a training has a plan")
            if self.now and student.plan.seconds:  # it counts seconds of the wall
                student.plan = student.plan.model_copy(update={"seconds_done": self.now() - begin})
            yield student.plan.progress, report
        trainer.teaching = student.plan = None  # that run is over, and no other goes on with it


Told = tuple[float, StepReport | None]
"""The share of something that is done, and what a training step of it has told."""


def taught_steps(lesson: Lesson, student: Engine) -> Generator[Told, None, DistillRound]:
    """Train one student and look at it."""
    started, loss = time.perf_counter(), math.nan
    for share, report in lesson.train(student):
        loss = report.loss
        yield PREPARED + (TRAINED - PREPARED) * share, report
    seconds = time.perf_counter() - started
    bits = yield from alone(scaled(known_steps(student, lesson.held), TRAINED, 1.0))
    seen, kl = _looked_at(lesson, student)
    model = student.config.model
    return DistillRound(
        num_layers=model.num_layers,
        d_model=model.d_model,
        num_parameters=student.num_parameters,
        parameters_outside_tables=outside_tables(model),
        steps=student.step,
        seconds=seconds,
        training_loss=loss,
        bits_per_byte=bits,
        kl=kl,
        gain_kept=(UNIFORM - bits) / (UNIFORM - lesson.known),
        k=seen.k,
        c=seen.c,
        s=seen.s,
        transition_rate=seen.transition_rate,
        below=_below(seen, lesson.floors, student.config.telemetry),
    )


def known_steps(engine: Engine, held: ByteData) -> Generator[float, None, float]:
    """Bits per byte of held-out data by the network alone, or by context mixing where there is no network; both frozen."""
    mixer = engine.mixer if engine.model is None else None
    found = yield from score_steps(engine.model, mixer, held.array, held.documents())
    return found.bits_per_byte_static


def alone(steps: Generator[float, None, Returned]) -> Generator[Told, None, Returned]:
    """Steps that tell nothing but the share done."""
    return mapped(steps, lambda share: (share, None))


def network_of(engine: Engine) -> tuple[LanguageModel, Trainer]:
    """A student's network, which it has, and what trains it."""
    if engine.model is None or engine.trainer is None:
        raise AssertionError("what has no network is refused as a student")
    return engine.model, engine.trainer


@torch.no_grad()
def _looked_at(lesson: Lesson, student: Engine) -> tuple[TelemetrySnapshot, float | None]:
    """K, C and S of the student on windows of the held-out data, and KL(teacher ‖ student) there."""
    model, _ = network_of(student)
    length = min(student.config.training.window_bytes or model.config.max_bytes, len(lesson.held))
    rows = max(1, min(TELEMETRY_ROWS, len(lesson.held) // length))
    batch = sample_windows(lesson.held, batch=rows, length=length, seed=_WINDOWS_SEED, step=0)
    asked, trace = batch.to(model.device), Trace(graph_bytes=batch.num_bytes)
    logits = model.path_logits(asked.data, documents=asked.documents, trace=trace)
    told = StepResult(loss=0.0, grad_norm=0.0, learning_rate=0.0, path_logits=logits, trace=trace)
    seen = measure_batch(model, batch, told, student.known_reference(), student.config.telemetry)
    assert seen is not None  # noqa: S101  (windows of data were shown)
    if not lesson.guide.reads_anything:
        return seen, None
    beliefs = Beliefs(logits, trace.graph_nodes)
    return seen, float(divergence(lesson.guide.ask(asked), beliefs, asked.data).double().mean())


def _below(seen: TelemetrySnapshot, floors: Floors, settings: TelemetryConfig) -> tuple[str, ...]:
    watched = zip(seen.watched(settings).items(), (floors.k, floors.c, floors.s), strict=True)
    return tuple(name for (name, value), floor in watched if value < floor)
