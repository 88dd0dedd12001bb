"""What the commands of `bitlm bench` have in common: values with commas, tables for people, and a last line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bitlm_mcp.shell import progress_bar


class BenchError(Exception):
    """A benchmark that cannot be run as asked."""


Report = TypeVar("Report")
Figures = Mapping[str, float | int | str | bool | None]

Json = Annotated[bool, typer.Option("--json", help="Print the JSON line alone.")]
Preset = Annotated[Literal["tiny", "small", "base"], typer.Option(help="Sizes of the network.")]
Architecture = Annotated[Literal["byte", "bit"], typer.Option(help="A position per byte, or per bit.")]


def values_of(text: str, read: Any) -> list[Any]:
    """The values in a list with commas; `[None]` for an empty text, which leaves the preset's own."""
    return [read(part.strip()) for part in text.split(",")] if text else [None]


def whole_number(text: str) -> int:
    """The number. Raises BenchError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BenchError(f"{text!r} is no whole number: give one or more, with commas between them")
    return int(text)


def tell(report: Figures, json_only: bool) -> None:
    """The figures, one a line, and then all of them as a line of JSON."""
    if not json_only:
        for name, value in report.items():
            typer.echo(f"{name:22} {value}")
    typer.echo(json.dumps(report))


def show_table(rows: Sequence[tuple[dict[str, Any], dict[str, float]]]) -> None:
    """What tells the cases apart, then their figures."""
    table = Table()
    for name in (*rows[0][0], *rows[0][1]):
        table.add_column(name, justify="right")
    for named, figures in rows:
        table.add_row(*(str(value) for value in named.values()), *(f"{value:,.4g}" for value in figures.values()))
    Console().print(table)


def listed(results: Iterator[Report], total: int) -> list[Report]:
    """All results, with a bar while they come."""
    with progress_bar() as bar:
        return list(bar.track(results, total=total, description="measuring"))


def report_of(steps: Iterator[float | Report], what: str) -> Report:
    """What the steps end with, with a bar while they come."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=1.0)
        for step in steps:
            if not isinstance(step, float):
                return step
            bar.update(task, completed=step)
    raise BenchError("the benchmark ended without a report")
