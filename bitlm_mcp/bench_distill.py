"""`bitlm bench distill`: a teacher, its student, and the student's sizes without a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, Preset, report_of, tell
from bitlm_mcp.demo import default_text

Layers = Annotated[int | None, typer.Option(min=1, max=128, help="Of the student.")]
Width = Annotated[int | None, typer.Option(min=16, max=8192, help="Of the student.")]
Rows = Annotated[int | None, typer.Option(min=0, max=1 << 20, help="Of each of its tables of n-grams.")]


def distill(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    teacher_seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds of the teacher.")] = 180.0,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds of the student.")] = 90.0,
    preset: Preset = "small",
    d_model: Width = None,
    num_layers: Layers = None,
    ngram_rows: Rows = None,
    data_weight: Annotated[float, typer.Option(min=0, max=100, help="Of the data's own loss.")] = 0.1,
    teacher_weight: Annotated[float, typer.Option(min=1e-9, max=100, help="Of KL to the teacher.")] = 1.0,
    taught_from: Annotated[float, typer.Option(min=0, max=0.99, help="Share of its time before the teacher is asked.")] = 0.5,
    num_clusters: Annotated[int, typer.Option(min=0, max=256, help="Medoids that are shown first; 0: none.")] = 8,
    json_only: Json = False,
) -> None:
    """Train a teacher, distil it, and train the student's sizes alone for equal CPU time: bpb of the last 10 % of a file.

    Without sizes the student has about a quarter of the teacher's parameters, in all and outside of its tables.
    """
    sizes = {"d_model": d_model, "num_layers": num_layers, "ngram_rows": ngram_rows}
    distilling: dict[str, float] = {"data_weight": data_weight, "teacher_weight": teacher_weight}
    distilling |= {"taught_from": taught_from, "num_clusters": num_clusters}
    trial = bitlm_core.DistillTrial(
        teacher_seconds=teacher_seconds, seconds=seconds, preset=preset, student=sizes, distilling=distilling
    )
    steps = bitlm_core.distill_bench_steps(data.read_bytes() if data else default_text(), trial)
    tell({**report_of(steps, "learning").flat(), "preset": preset}, json_only)
