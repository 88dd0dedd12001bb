"""`bitlm bench compress` and `bitlm bench records`: bits per byte of what was really coded, with other compressors beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files to code, each on its own.")]
Peers = Annotated[bool, typer.Option("--peers/--no-peers", help="Other compressors beside it, where installed.")]
Memory = Annotated[
    int | None, typer.Option("--memory-mib", min=8, max=1024, help="Tables of each lane.", show_default="by the size")
]


def compress_files(
    files: Files,
    lanes: Annotated[int, typer.Option(min=1, max=64, help="Parts of a file; one thread goes through them.")] = 1,
    memory_mib: Memory = None,
    peers: Peers = True,
    json_only: Json = False,
) -> None:
    """Measure compression without a model: every file is coded, decoded and compared."""
    _refuse_absent(*files)
    figures, theirs = list[bitlm_core.FileFigures](), list[dict[str, float]]()
    for figure, path in zip(bitlm_core.file_figures(files, memory_mib=memory_mib, lanes=lanes), files, strict=True):
        sizes = bitlm_core.compressed_sizes(path.read_bytes()) if peers else {}
        figures.append(figure)
        theirs.append({name: 8 * size / figure.num_bytes for name, size in sizes.items()})
        if not json_only:
            own = {"bpb": figure.bpb, "kB/s": figure.num_bytes / 1000 / max(figure.seconds, 1e-9)}
            _line(figure.name, own, theirs[-1])
    names = [figure.name for figure in figures]
    keys = names if len(set(names)) == len(names) else [str(path) for path in files]
    found = {
        key: {
            "num_bytes": figure.num_bytes,
            "bpb": round(figure.bpb, 4),
            "seconds": round(figure.seconds, 4),
            "decode_seconds": round(figure.decode_seconds, 4),
            "peak_bytes": figure.peak_bytes,
        }
        for key, figure in zip(keys, figures, strict=True)
    }
    mean = bitlm_core.geometric_mean([figure.bpb for figure in figures])
    told = {"files": found, "geometric_mean_bpb": round(mean, 4), "peers": _peers(keys, theirs)}
    typer.echo(json.dumps(told | {"machine": bitlm_core.describe()}))


def records(
    train: Annotated[Path, typer.Option(help="File of records to learn.")],
    test: Annotated[Path, typer.Option(help="File of records to code, each alone.")],
    form: Annotated[
        Literal["lines", "pcap", "tsv-hex"], typer.Option("--format", help="tsv-hex: a label, a tab, bytes in hexadecimal.")
    ] = "lines",
    memory_mib: Annotated[int, typer.Option("--memory-mib", min=8, max=1024, help="Tables of the mixer.")] = 64,
    peers: Peers = True,
    json_only: Json = False,
) -> None:
    """Measure records coded alone, in whole bytes, by a context mixer that has learned other records in shuffled order."""
    _refuse_absent(train, test)
    learned, coded = (bitlm_core.read_records(path, form) for path in (train, test))
    steps = bitlm_core.records_report(learned, coded, bitlm_core.MixingConfig(memory_mib=memory_mib))
    report = bitlm_core.finished(steps)
    if not json_only:
        theirs = bitlm_core.record_sizes(learned, coded) if peers else {}
        own = {"bpb": report.bpb, "kB/s": report.bytes_per_second / 1000}
        _line(test.name, own, {name: 8 * size / report.test_bytes for name, size in theirs.items()})
    typer.echo(json.dumps(report.flat() | {"machine": bitlm_core.describe()}))


def _peers(keys: list[str], theirs: list[dict[str, float]]) -> dict[str, dict[str, object]]:
    """Of each compressor that coded all files: bits per byte of each, and their geometric mean."""
    common = [name for name in theirs[0] if all(name in sizes for sizes in theirs)]
    return {
        name: {
            "geometric_mean_bpb": round(bitlm_core.geometric_mean([sizes[name] for sizes in theirs]), 4),
            "files": {key: round(sizes[name], 4) for key, sizes in zip(keys, theirs, strict=True)},
        }
        for name in common
    }


def _refuse_absent(*paths: Path) -> None:
    for path in paths:
        if not path.is_file():
            raise BenchError(f"there is no file {path}: give one that there is")


def _line(name: str, own: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    """A small table as soon as one file is done: the peers take their time."""
    table = Table(title=name, title_justify="left")
    for column in (*own, *theirs):
        table.add_column(column, justify="right")
    table.add_row(*(f"{value:,.3f}" for value in (*own.values(), *theirs.values())))
    Console().print(table)
