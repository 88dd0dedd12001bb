"""`bitlm bench generate|weights`: how fast bytes are decoded, and what int8 weights cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, Preset, report_of, show_table, tell, values_of
from bitlm_mcp.demo import default_text

SHOWN = {
    "fp32": "bytes_per_second",
    "int8": "bytes_per_second_int8",
    "int8 mixing": "bytes_per_second_mixing_int8",
    "int8 carried": "bytes_per_second_carried_int8",
    "torch": "bytes_per_second_torch",
    "difference": "max_logit_difference",
}
"""Columns of the table."""


def generate(
    parameters: Annotated[str, typer.Option(help="0.8M, 5M or 25M; several with commas.")] = "0.8M",
    attention: Annotated[Literal["chunked", "full", "differential"], typer.Option(help="Of the network.")] = "chunked",
    streams: Annotated[int, typer.Option(min=1, max=4096, help="Decoded beside each other.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that share the streams; over 1: wall time.")] = 1,
    json_only: Json = False,
) -> None:
    """Measure decoding: bytes per second in fp32 and int8, alone and with mixing, and the difference from PyTorch.

    With several sizes, the names in the last line end in the size.
    """
    sizes = values_of(parameters, str)
    found: list[Any] = []
    for size in sizes:
        steps = bitlm_core.generate_speeds(size, attention=attention, streams=streams, threads=threads)
        found.append(report_of(steps, size))
    if not json_only:
        show_table([({"size": each.parameters}, {name: each.flat()[field] for name, field in SHOWN.items()}) for each in found])
    if len(found) == 1:
        figures = found[0].flat()
    else:
        figures = {f"{name}_{each.parameters}": value for each in found for name, value in each.flat().items()}
    tell(figures, json_only=True)


def weights(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    preset: Preset = "small",
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 60.0,
    json_only: Json = False,
) -> None:
    """Train a network, and score held-out bytes in fp32 and in int8: what int8 weights cost in bits per byte."""
    content = data.read_bytes() if data else default_text()
    config = bitlm_core.EngineConfig(model=bitlm_core.preset_config(preset))
    tell(report_of(bitlm_core.int8_cost_steps(content, config, seconds=seconds), "learning").flat(), json_only)
