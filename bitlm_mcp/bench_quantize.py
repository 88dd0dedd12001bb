"""`bitlm bench quantize`: how small and how good quantised models are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, Preset, report_of, tell
from bitlm_mcp.demo import default_text


def quantize(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    preset: Preset = "small",
    architecture: Annotated[Literal["byte", "bit", "patch"], typer.Option(help="Of the network.")] = "byte",
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 60.0,
    qat_steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="With rounded weights, of int4.")] = 100,
    json_only: Json = False,
) -> None:
    """Train a network and quantise it: size of its file, bits per byte and decoding speed in fp32, int8 and int4."""
    content = data.read_bytes() if data else default_text()
    config = bitlm_core.EngineConfig(model=bitlm_core.preset_config(preset, architecture))
    steps = bitlm_core.quantize_bench_steps(content, config, seconds=seconds, qat_steps=qat_steps)
    tell(report_of(steps, "learning").flat(), json_only)
