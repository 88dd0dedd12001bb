"""`bitlm score` and `bitlm bench anomaly`: what in a file is odd, without a server. Importing this brings no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.bench_reports import Json
from bitlm_mcp.compute.scoring import score_outcome
from bitlm_mcp.shell import followed, known_engine, one_line, progress_bar, refuse

File = Annotated[Path, typer.Argument(metavar="FILE", help="File to score.")]
Model = Annotated[
    str | None, typer.Option(help="Model, checkpoint or file of one.", show_default="none: learns the file itself")
]
Records = Annotated[str, typer.Option(help="whole, lines, fixed:N or pcap.")]
Top = Annotated[int, typer.Option(min=1, max=1000, help="How many records and places to tell.")]
Adaptive = Annotated[bool, typer.Option("--adaptive", help="The model learns on, but nothing suspicious.")]
HeatMap = Annotated[Path | None, typer.Option(help="Draw surprise over offset into this SVG file.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
FORMS = "lines: LABEL record; tsv-hex: LABEL tab hex; csv: columns label and payload (or the first). Normal: - or 0, norm."


def score(
    context: typer.Context,
    file: File,
    model: Model = None,
    records: Records = "whole",
    top: Top = 10,
    adaptive: Adaptive = False,
    heatmap: HeatMap = None,
    json_only: JsonOnly = False,
    state_dir: options.StateDir = None,
) -> None:
    """Score a file: bits per byte, its oddest records and its most surprising bytes."""
    with one_line():
        data = np.fromfile(file, np.uint8)
        spans = bitlm_core.record_spans(data, records)
        if model is None:
            refuse(adaptive, "--adaptive needs a --model; without one the file is learned while it is read in any case")
            steps = bitlm_core.self_score_steps(data, spans)
        else:
            engine = known_engine(model, state_dir or options.state_home(context.obj))
            steps = engine.score_steps(data, spans, adaptive=adaptive)
        found = followed(steps, "scoring")
        if heatmap is not None:
            heatmap.write_text(bitlm_core.heat_map(found.surprise, file.name), encoding="utf-8")
        _tell(found, data, top, json_only, known=model is not None)


def anomaly(
    train: Annotated[Path, typer.Option(help="File of which the normal records are learned.")],
    test: Annotated[Path, typer.Option(help="File whose records are ranked.")],
    form: Annotated[Literal["lines", "tsv-hex", "csv"], typer.Option("--format", help=FORMS)] = "lines",
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which records are learned.")] = 0,
    json_only: Json = False,
) -> None:
    """Learn normal records alone, rank labelled ones: AUROC and average precision, frozen and streaming."""
    learned, ranked = (bitlm_core.read_labelled(path.read_bytes(), form) for path in (train, test))
    report: Any = None
    with progress_bar() as bar:
        task = bar.add_task("ranking", total=1.0)
        for report in bitlm_core.anomaly_steps(learned, ranked, seed=seed):
            if isinstance(report, float):
                bar.update(task, completed=report)
    figures = report.flat()
    for name, value in () if json_only else figures.items():
        typer.echo(f"{name:27} {value}")
    typer.echo(json.dumps(figures))


def _tell(found: bitlm_core.Score, data: NDArray[np.uint8], top: int, json_only: bool, *, known: bool) -> None:
    outcome = score_outcome(found, data, top)
    figures = outcome.model_dump(mode="json", exclude={"answer"}, exclude_none=True)
    if not known:  # nothing is frozen where there is no model
        del figures["bits_per_byte_static"], figures["bits_per_byte_network"]
    if json_only:
        typer.echo(json.dumps(figures))
        return
    tables = {name: figures.pop(name) for name in ("records", "spans")}
    for name, value in figures.items():
        typer.echo(f"{name:22} {round(value, 4)}")
    for name, rows in tables.items():
        if rows:
            _table(name, rows)


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right" if name not in ("hex", "text") else "left")
    for row in rows:
        table.add_row(*(escape(f"{value:.2f}" if isinstance(value, float) else str(value)) for value in row.values()))
    Console(width=max(100, Console().width)).print(table)
