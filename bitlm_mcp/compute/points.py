"""What steps and generations become outside: a point in the history of a model, and an answer with its telemetry."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

import bitlm_core
from bitlm_mcp.compute import answers
from bitlm_mcp.compute.patches import histogram_of
from bitlm_mcp.snapshot import HistoryPoint, Mark

if TYPE_CHECKING:
    from bitlm_core import Engine, Filling, Generation, StepReport, Verdict

_OWN = ("step", "loss", "bits_per_byte", "bits_per_byte_mixed", "grad_norm", "learning_rate")
_OF_SOME = ("mean_layers", "attention_entropy")


def point_of(report: StepReport, seconds: float) -> HistoryPoint:
    """The point of a step that took so long; what it did not measure is None."""
    measured = asdict(report.telemetry) if report.telemetry else dict.fromkeys(("k", "c", "s"))
    return HistoryPoint(
        **{name: getattr(report, name) for name in (*_OWN, *_OF_SOME)},
        **measured,
        bits_per_byte_held_out=None if report.held_out_loss is None else report.held_out_loss / math.log(2),
        halt_probs=report.halt_probs or None,
        **_patches(report),
        **_feed(report),
        bytes_per_second=report.num_bytes / seconds if seconds else None,
        memory_bytes=bitlm_core.used_memory_bytes(),
    )


def drifts_of(report: StepReport) -> tuple[Mark, ...]:
    """What has drifted, as marks."""
    return tuple(Mark(alert.step, "drift", alert.message) for alert in report.alerts)


def _patches(report: StepReport) -> dict[str, Any]:
    about = report.patches
    if about is None:
        return {}
    return {"patch_mean": about.mean, "patch_spread": about.spread, "patch_histogram": histogram_of(about)}


def _feed(report: StepReport) -> dict[str, Any]:
    feed = report.feed
    if feed is None:
        return {}
    ways = {"raw": feed.raw, "compressed": feed.compressed, "direct": feed.direct}
    told = {f"{name}_{way}": getattr(shown, name) for way, shown in ways.items() for name in ("loss", "accuracy", "ratio")}
    del told["ratio_raw"]
    return told | {"codec_fallbacks": feed.fallbacks}


def generated(engine: Engine, found: tuple[Generation, Verdict | None]) -> answers.GenerationOutcome:
    """What was generated, and what it looks like."""
    generation, verdict = found
    return answers.GenerationOutcome(
        data=generation.data,
        bits_per_byte=generation.bits_per_byte,
        verdict=verdict,
        telemetry=_measured(engine, generation.data),
        step=engine.step,
    )


def filled(engine: Engine, found: tuple[Filling, Verdict | None], *, traced: bool) -> answers.FillingOutcome:
    """What a template was filled with, and what the drawn bytes look like; traced: also when each came."""
    filling, verdict = found
    told = {name: getattr(filling, name) for name in answers.FillingOutcome.model_fields if hasattr(filling, name)}
    told |= _trace(filling) if traced else {"parity_places": None}
    return answers.FillingOutcome(
        **told,
        num_drawn=len(filling.drawn),
        verdict=verdict,
        telemetry=_measured(engine, filling.drawn),
        step=engine.step,
        diffusion_steps=engine.diffusion_steps,
    )


def _trace(filling: Filling) -> dict[str, Any]:
    revealed_at = np.minimum(filling.revealed_at, np.iinfo(np.uint16).max)
    return {"revealed": revealed_at.astype("<u2").tobytes(), "parity_places": filling.parity_places}


def _measured(engine: Engine, data: bytes) -> answers.GeneratedTelemetry:
    """Measured against the training data (before any training, uniform bytes)."""
    measured = bitlm_core.measure_bits(bitlm_core.bytes_to_bits(data), engine.known_reference())
    settings = engine.config.telemetry
    complexity = measured.transition_rate if settings.profile == "legacy" else measured.c
    composite = bitlm_core.composite_score(measured.k, complexity, measured.s, settings.lambdas)
    return answers.GeneratedTelemetry(**asdict(measured), composite=composite)
