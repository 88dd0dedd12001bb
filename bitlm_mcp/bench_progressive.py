"""`bitlm bench progressive`: a network that grows beside the size it grows to, trained from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json, Preset, report_of, tell, values_of
from bitlm_mcp.demo import default_text

GROWTHS = ("layer", "width", "context")


def progressive(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds for the final size.")] = 120.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="Of them, for the network that grows.")] = 0.8,
    preset: Preset = "tiny",
    growths: Annotated[str, typer.Option(help="layer, width, context: in turn, each once; with commas.")] = "width",
    improve_threshold: Annotated[float, typer.Option(min=1e-6, max=0.999, help="Mean gain that is none.")] = 0.06,
    window: Annotated[int, typer.Option(min=1, max=100, help="Looks whose gains are averaged.")] = 2,
    patience: Annotated[int, typer.Option(min=1, max=1000, help="Flat looks before it grows.")] = 1,
    warmup_steps: Annotated[int, typer.Option(min=1, max=100_000, help="After each growth.")] = 25,
    validate_every: Annotated[int, typer.Option(min=1, max=1_000_000, help="Steps between looks.")] = 40,
    json_only: Json = False,
) -> None:
    """Train the final size, a small network that grows to it, and the small one: bpb of the last 10 % by CPU seconds."""
    settings = bitlm_core.ProgressiveConfig(
        improve_threshold=improve_threshold,
        window=window,
        patience=patience,
        cycle=tuple(values_of(growths, _growth)),
        warmup_steps=warmup_steps,
    )
    trial = bitlm_core.ProgressiveTrial(
        start=bitlm_core.preset_config(preset),
        settings=settings,
        training=bitlm_core.TrainingConfig(),
        seconds=seconds,
        validate_every=validate_every,
        share=share,
    )
    steps = bitlm_core.progressive_bench_steps(data.read_bytes() if data else default_text(), trial)
    found: Any = report_of(steps, "learning")
    tell({**found.flat(), "preset": preset, "growths": growths}, json_only)


def _growth(text: str) -> str:
    if text not in GROWTHS:
        raise BenchError(f"{text!r} is no way to grow: give some of {', '.join(GROWTHS)}")
    return text
