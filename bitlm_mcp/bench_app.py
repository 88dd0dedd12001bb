"""`bitlm bench`: all benchmarks by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

import bitlm_core
from bitlm_mcp import (
    bench_codecs,
    bench_commands,
    bench_compression,
    bench_decoding,
    bench_diffusion,
    bench_distill,
    bench_growth,
    bench_pages,
    bench_patches,
    bench_progressive,
    bench_quantize,
    bench_repair,
    bench_safety,
    bench_samples,
    bench_scaling,
    score_commands,
    telemetry_commands,
)
from bitlm_mcp.bench_all import command as of_all
from bitlm_mcp.bench_reports import BenchError


class _OneLine(TyperGroup):
    """What cannot be run ends with one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BenchError, OSError, bitlm_core.BitLMError) as error:
            typer.echo(f"bitlm: {error}", err=True)
            raise typer.Exit(1) from None


bench = typer.Typer(name="bench", cls=_OneLine, no_args_is_help=True, help="Measure on this machine; the last line is JSON.")

COMMANDS: dict[str, Callable[..., None]] = {
    "learn": bench_commands.learn,
    "train": bench_commands.train,
    "memory": bench_commands.memory,
    "long": bench_commands.long_context,
    "halting": bench_commands.halting,
    "defaults": bench_commands.defaults,
    "serve": bench_commands.serve,
    "compress": bench_compression.compress_files,
    "codecs": bench_codecs.codecs,
    "records": bench_compression.records,
    "generate": bench_decoding.generate,
    "weights": bench_decoding.weights,
    "diffusion": bench_diffusion.diffusion,
    "distill": bench_distill.distill,
    "samples": bench_samples.samples,
    "scaling": bench_scaling.scaling,
    "safety": bench_safety.safety,
    "repair": bench_repair.repair,
    "patches": bench_patches.patches,
    "growth": bench_growth.growth,
    "progressive": bench_progressive.progressive,
    "quantize": bench_quantize.quantize,
    "pages": bench_pages.pages,
    "anomaly": score_commands.anomaly,
    "telemetry": telemetry_commands.bench_telemetry,
    "all": of_all.everything,
    "figures": of_all.figures,
}

for name, command in COMMANDS.items():
    bench.command(name)(command)
