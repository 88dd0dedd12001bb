"""After a progressive training: the network that grew, made small. The engine that learned stays bit for bit as it is.

    auto_collapse   a student of about a quarter of its parameters, see `distillation`
    quantize        of that student, or else of a copy of the network; int4 after steps on rounded weights, see `quantization`

The student's rounds take `COLLAPSE_SHARE` of what the training took each, in its own measure: its steps, or its seconds.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from bitlm_core.engine import Engine
from bitlm_core.engine_config import MAX_QAT_STEPS
from bitlm_core.errors import ConfigError
from bitlm_core.models.config import Quantized
from bitlm_core.steps import scaled
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData
from bitlm_core.training.growing import ProgressiveConfig
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.distill_report import UNIFORM, DistillProgress, DistillReport
from bitlm_core.transform.distillation import HELD_BYTES, distill_steps
from bitlm_core.transform.lessons import known_steps
from bitlm_core.transform.quantization import network_bytes, quantize_steps
from bitlm_core.transform.students import student_config

COLLAPSE_SHARE = 0.25
"""Of a training's steps or seconds: each round of the student's."""
QAT_SHARE = 0.1
"""Of the steps that a network has learned for: with rounded weights, before it is int4."""
_COLLAPSED = 0.85  # share of the work that is done when there is a student
_ROUNDED = 0.97


@dataclass(frozen=True)
class SmallReport:
    """A small network beside the one it was made of; bits per byte on held-out data, each network alone.

    gain_kept: see `distillation`; None where the network knew no better than chance. network_bytes: in a checkpoint.
    """

    num_parameters: int
    num_parameters_before: int
    bits_per_byte: float
    bits_per_byte_before: float
    gain_kept: float | None
    network_bytes: int
    network_bytes_before: int
    quantized: Quantized | None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def message(self, step: int) -> str:
        """One line for people, of the step that the training ended at."""
        made = f"collapsed to {self.num_parameters:,} parameters" if self.smaller else "copied"
        made += f", {self.quantized}" if self.quantized else ""
        kept = "" if self.gain_kept is None else f", {self.gain_kept:.1%} of the gain kept"
        return f"step {step}: {made}{kept} ({self.network_bytes:,} bytes of {self.network_bytes_before:,})"

    @property
    def smaller(self) -> bool:
        """Whether there are fewer parameters, and not only smaller ones."""
        return self.num_parameters < self.num_parameters_before


class Small(NamedTuple):
    """What was made, how it compares, and where it was distilled, of what students."""

    engine: Engine
    report: SmallReport
    distilled: DistillReport | None


def small_steps(
    engine: Engine, data: ByteData, held: ByteData, settings: ProgressiveConfig
) -> Generator[DistillProgress, None, Small]:
    """Make the small engine that a plan's rule asks for, after that plan. It may be stopped at any yield.

    data, held: those of the training. Raises ConfigError where nothing is asked for, nothing has been trained, or there is no
    smaller network; ModelStateError as `distill_steps` and `quantize_steps`.
    """
    plan = engine.plan
    if not settings.ends_small or plan is None or not plan.steps_done:
        raise ConfigError(
            f"auto_collapse={settings.auto_collapse}, quantize={settings.quantize}, "
            f"{plan.steps_done if plan else 0} steps done: a small model is made after a training, when one of both asks for it"
        )
    made, distilled = engine, None
    if settings.auto_collapse:
        student = student_config(engine.config)
        found = yield from _within(distill_steps(engine, data, held, student, budget(plan)), 0.0, _COLLAPSED)
        made, distilled = found
    learned = plan.steps_done if distilled is None else made.step
    if settings.quantize:
        steps = min(MAX_QAT_STEPS, max(1, round(QAT_SHARE * learned))) if settings.quantize == "int4" else 0
        rounding = quantize_steps(made, settings.quantize, qat_steps=steps, data=data if steps else None)
        made = yield from _told(scaled(rounding, _COLLAPSED if distilled else 0.0, _ROUNDED))
    report = yield from _told(scaled(_compared(engine, made, held.part(0, HELD_BYTES), distilled), _ROUNDED, 1.0))
    return Small(made, report, distilled)


def budget(plan: TrainingPlan) -> DistillConfig:
    """How long each round of the student takes, after that plan."""
    if plan.seconds:
        return DistillConfig(seconds=COLLAPSE_SHARE * plan.seconds_done)
    return DistillConfig(steps=max(1, round(COLLAPSE_SHARE * plan.steps_done)))


def _compared(
    engine: Engine, made: Engine, held: ByteData, distilled: DistillReport | None
) -> Generator[float, None, SmallReport]:
    if distilled is None:
        before = yield from scaled(known_steps(engine, held), 0.0, 0.5)
    else:
        before = distilled.teacher_bits_per_byte
    if distilled is not None and made.config.model.quantized is None:
        after = distilled.kept.bits_per_byte
    else:
        after = yield from scaled(known_steps(made, held), 0.5, 1.0)
    return SmallReport(
        num_parameters=made.num_parameters,
        num_parameters_before=engine.num_parameters,
        bits_per_byte=after,
        bits_per_byte_before=before,
        gain_kept=(UNIFORM - after) / (UNIFORM - before) if before < UNIFORM else None,
        network_bytes=network_bytes(made),
        network_bytes_before=network_bytes(engine),
        quantized=made.config.model.quantized,
    )


def _within(steps: Generator[DistillProgress, None, Any], start: float, end: float) -> Generator[DistillProgress, None, Any]:
    """A distillation as a part of something longer."""
    while True:
        try:
            told = next(steps)
        except StopIteration as stop:
            return stop.value
        yield replace(told, share=start + (end - start) * told.share)


def _told(steps: Generator[float, None, Any]) -> Generator[DistillProgress, None, Any]:
    """Steps that belong to no round."""
    while True:
        try:
            share = next(steps)
        except StopIteration as stop:
            return stop.value
        yield DistillProgress(share, 0)
