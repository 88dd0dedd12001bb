"""`bitlm telemetry …` and `bitlm bench telemetry`: runs drawn, data measured, and what watching costs; without a server."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.bench_reports import Json, Preset, report_of, tell
from bitlm_mcp.demo import default_text
from bitlm_mcp.shell import one_line, refuse

telemetry = typer.Typer(name="telemetry", no_args_is_help=True, help="What a model, a run and data look like in numbers.")

Out = Annotated[Path, typer.Argument(metavar="OUT.svg", help="File to write.")]
Model = Annotated[str | None, typer.Option(help="A model of the state directory, as it was saved last.")]
Checkpoint = Annotated[str | None, typer.Option(help="A checkpoint of the state directory.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="File to measure.")]
BlockBits = Annotated[int, typer.Option(min=1, max=16, help="K is of blocks of so many bits.")]
Against = Annotated[Path | None, typer.Option(help="S compares with this file's bytes.", show_default="uniform bytes")]
MAX_MEASURED = (1 << 22) // 9


@telemetry.command()
def plot(
    context: typer.Context, out: Out, model: Model = None, checkpoint: Checkpoint = None, state_dir: options.StateDir = None
) -> None:
    """Draw all that was recorded of a model's training."""
    with one_line():
        refuse((model is None) == (checkpoint is None), "give exactly one of --model and --checkpoint")
        name, folder = (model, "models") if model is not None else (str(checkpoint), "checkpoints")
        home = state_dir or options.state_home(context.obj)
        store, saved = bitlm_core.CheckpointStore(home / folder), bitlm_core.CheckpointStore(home / "checkpoints")
        only_saved = model is not None and name not in store.names() and name in saved.names()
        refuse(only_saved, f"there is no model {name!r}, but a checkpoint: give --checkpoint {name}")
        header = bitlm_core.read_header(store.verified_path(name), name)
        points = list(header.get("history", ()))
        refuse(not points, f"{name!r} has no recorded steps: train it first")
        out.write_text(bitlm_core.draw_run(points, name), encoding="utf-8")
        typer.echo(f"{len(points):,} recorded steps drawn into {out}")


@telemetry.command()
def measure(file: File, block_bits: BlockBits = 8, against: Against = None, json_only: Json = False) -> None:
    """Measure data: K, C, S, the transition rate and the divergence of its bytes."""
    with one_line():
        data = file.read_bytes()
        too_much = f"{file} has {len(data):,} bytes: give 1 to {MAX_MEASURED:,}, of a larger file a part"
        refuse(not 0 < len(data) <= MAX_MEASURED, too_much)
        reference = bitlm_core.byte_histogram(against.read_bytes()) if against else [1.0] * 256
        found = bitlm_core.measure_bits(bitlm_core.bytes_to_bits(data, parity="none"), reference, parity="none", k=block_bits)
        figures: dict[str, Any] = {"num_bytes": len(data), "block_bits": block_bits, **asdict(found)}
        for name in ("valid_groups", "parity_failures"):  # bytes have no parity
            del figures[name]
        for name, value in () if json_only else figures.items():
            typer.echo(f"{name:22} {round(value, 4)}")
        if json_only:
            typer.echo(json.dumps(figures))


def bench_telemetry(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    preset: Preset = "small",
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps that are timed.")] = 30,
    drift_runs: Annotated[int, typer.Option(min=1, max=100_000, help="Simulated runs of each kind.")] = 1000,
    json_only: Json = False,
) -> None:
    """Measure what K, C, S at every step and looks at attention cost in CPU time, and how well drift is found."""
    content = data.read_bytes() if data else default_text()
    found = bitlm_core.telemetry_steps(content, preset, steps=steps, drift_runs=drift_runs)
    tell(report_of(found, "measuring").flat(), json_only)
