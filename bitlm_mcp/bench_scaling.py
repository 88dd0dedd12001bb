"""`bitlm bench scaling`: one process that trains, against several that share the training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json, Preset, show_table, tell
from bitlm_mcp.demo import default_text

WAYS = ("ddp", "fsdp", "pipeline")
SHOWN = ("alone_ms", "beside_ms", "together_ms", "exchange_ms", "efficiency", "expected")
"""Columns of the table."""


def scaling(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    parallel: Annotated[str, typer.Option(help="Of ddp, fsdp, pipeline; several with commas.")] = ",".join(WAYS),
    nproc: Annotated[int, typer.Option(min=2, max=64, help="Processes, of one thread each.")] = 2,
    preset: Preset = "small",
    batch_size: Annotated[int, typer.Option(min=1, max=512, help="Windows per step of each process.")] = 8,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Turns in which all are measured.")] = 5,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps of each in a turn.")] = 4,
    json_only: Json = False,
) -> None:
    """Weak scaling: steps of several processes with as many windows each, against steps of one, in wall time.

    It wants a machine to itself, with a core for each process. The network alone: context mixing is the leader's.
    """
    content = data.read_bytes() if data else default_text()
    settings = bitlm_core.TrainingConfig(batch_size=batch_size)
    config = bitlm_core.EngineConfig(model=bitlm_core.preset_config(preset), training=settings, mixing=None)
    figures: dict[str, float | int | str] = {}
    for way in [_way(part.strip()) for part in parallel.split(",")]:
        found = bitlm_core.measure_scaling(config, way, content, size=nproc, turns=turns, steps=steps).flat()
        if not json_only:
            show_table([({"parallel": way}, {name: float(found[name]) for name in SHOWN})])
        figures |= {f"{way}_{name}": found[name] for name in SHOWN}
    tell(figures | {"processes": nproc, "rows": batch_size, "num_parameters": found["num_parameters"]}, json_only=True)


def _way(text: str) -> bitlm_core.Parallel:
    if text not in WAYS:
        raise BenchError(f"{text!r} is no way to share a training: give some of {', '.join(WAYS)}")
    return text  # type: ignore[return-value]
