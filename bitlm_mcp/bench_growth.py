"""`bitlm bench growth`: what growing costs, and what time it saves, of which `bitlm bench progressive` tells more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json, Preset, report_of, show_table, tell, values_of
from bitlm_mcp.demo import default_text

SHOWN = {
    "logits": "logit_difference",
    "loss %": "loss_jump_percent",
    "seconds": "seconds",
    "parameters": "parameters_before",
    "then": "parameters",
}
"""Columns of the table."""
NETWORKS = ("byte", "bit", "patch")


def growth(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds that each network learns first.")] = 20.0,
    architectures: Annotated[str, typer.Option(help="Of byte, bit, patch; several with commas.")] = ",".join(NETWORKS),
    preset: Preset = "tiny",
    progressive_seconds: Annotated[
        float, typer.Option(min=0, max=86_400, help="CPU seconds for the final size of progressive training; 0: left out.")
    ] = 120.0,
    json_only: Json = False,
) -> None:
    """Let networks that have learned a while grow in each way: how far logits move, and the loss after one step more.

    Then a byte network grows while it learns, beside its final size trained from the start.
    """
    chosen, content = values_of(architectures, _network), data.read_bytes() if data else default_text()
    found: Any = report_of(bitlm_core.growth_bench_steps(content, chosen, preset, seconds), "growing")
    if not json_only:
        rows = [(trial, {name: getattr(trial, field) for name, field in SHOWN.items()}) for trial in found.trials]
        show_table([({"network": trial.architecture, "growth": trial.growth}, figures) for trial, figures in rows])
    figures = found.flat()
    if progressive_seconds:
        trial = bitlm_core.ProgressiveTrial(bitlm_core.preset_config(preset), seconds=progressive_seconds)
        compared: Any = report_of(bitlm_core.progressive_bench_steps(content, trial), "growing while learning")
        figures |= {f"progressive_{name}": value for name, value in compared.flat().items()}
    tell(figures, json_only=True)


def _network(text: str) -> str:
    if text not in NETWORKS:
        raise BenchError(f"{text!r} is no architecture that grows: give some of {', '.join(NETWORKS)}")
    return text
