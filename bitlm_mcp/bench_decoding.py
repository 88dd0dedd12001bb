"""`bitlm bench generate|weights`: how fast bytes are decoded, and what int8 weights cost."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json, Preset, report_of, show_table, tell, values_of
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
    parameters: Annotated[str, typer.Option(help="0.8M, 1.3M, 5M or 25M; several with commas.")] = "0.8M",
    architecture: Annotated[str, typer.Option(help="byte or patch; both with a comma.")] = "byte",
    patch_bytes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Of each patch, with patch.", show_default="4")
    ] = None,
    attention: Annotated[Literal["chunked", "full", "differential"], typer.Option(help="Of the network.")] = "chunked",
    streams: Annotated[int, typer.Option(min=1, max=4096, help="Decoded beside each other.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads that share the streams; over 1: wall time.")] = 1,
    json_only: Json = False,
) -> None:
    """Measure decoding: bytes per second in fp32 and int8, alone and with mixing, and the difference from PyTorch.

    With several sizes, the names in the last line end in the size; with both architectures, in that and the size. Patches are
    all of the same length, for what random weights say would be cut anyhow.
    """
    found: list[Any] = []
    kinds = values_of(architecture, _architecture)
    for size, kind in product(values_of(parameters, str), kinds):
        of_patches = patch_bytes if kind == "patch" or kinds == ["byte"] else None
        steps = bitlm_core.generate_speeds(
            size, architecture=kind, patch_bytes=of_patches, attention=attention, streams=streams, threads=threads
        )
        found.append(report_of(steps, f"{kind} {size}"))
    if not json_only:
        show_table([_row(each) for each in found])
    ends = [[each.architecture] * (len(kinds) > 1) + [each.parameters] * (len(found) > 1) for each in found]
    figures = {
        "_".join([name, *end]): value for each, end in zip(found, ends, strict=True) for name, value in each.flat().items()
    }
    tell(figures, json_only=True)


def _architecture(text: str) -> str:
    if text not in ("byte", "patch"):
        raise BenchError(f"{text!r} is neither byte nor patch: give one of them, or both with a comma between them")
    return text


def _row(found: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """What was measured, and what is shown of it; not a number: what there is not."""
    flat = found.flat()
    figures = {name: math.nan if flat[field] is None else flat[field] for name, field in SHOWN.items()}
    return {"size": found.parameters, "architecture": found.architecture}, figures


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
