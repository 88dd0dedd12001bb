"""`bitlm bench all` and `bitlm bench figures`: every benchmark in one report, and the figures of the documents from it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn

import typer

from bitlm_mcp.bench_all import sections
from bitlm_mcp.bench_all.cases import PLAN
from bitlm_mcp.bench_all.inputs import Inputs
from bitlm_mcp.bench_all.machine import code_commit, describe_machine
from bitlm_mcp.bench_all.plan import LANES, Case
from bitlm_mcp.bench_all.plots import draw_all
from bitlm_mcp.bench_all.records import read_record
from bitlm_mcp.bench_all.reporting import Report, bounds_of, markdown, report_of, states_of
from bitlm_mcp.bench_all.running import Bench, Job, run_jobs
from bitlm_mcp.bench_reports import BenchError

REPORT, PAGE = "report.json", "report.md"
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def everything(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("examples/report"),
    data: Annotated[
        Path | None, typer.Option(help="Folder below which files are found by name.", show_default="none: Python's own text")
    ] = None,
    only: Annotated[str, typer.Option(help="Cases, or benchmarks; several with commas.", show_default="all")] = "",
    again: Annotated[str, typer.Option(help="Cases that are measured again, or all; several with commas.")] = "",
    report_only: Annotated[bool, typer.Option("--report-only", help="Measure nothing: report what there is.")] = False,
) -> None:
    """Run every benchmark and report it: forty minutes on two cores. What was measured before is kept, so it may be stopped."""
    if data is not None and not data.is_dir():
        raise BenchError(f"there is no folder {data}: give one with the files, or leave --data out")
    chosen = _chosen(only) if only else list(PLAN)
    repeated = list(PLAN) if again == "all" else _chosen(again)
    began = time.perf_counter()
    with TemporaryDirectory(prefix="bitlm-bench-") as scratch:
        inputs = Inputs(data, Path(scratch))
        bench = Bench(out, inputs, code_commit(), describe_machine(), context.obj, lambda line: typer.echo(line, err=True))
        found = {case.name: bench.job(case) for case in PLAN}
        jobs = [job for case in chosen if (job := found[case.name]) and (case in repeated or not bench.kept(job))]
        if not report_only:
            _run(bench, jobs)
        report = _report(bench, found)
    _write(out, report)
    ran = 0 if report_only else len(jobs)
    typer.echo(json.dumps(_summary(out, report, ran, time.perf_counter() - began)))
    if states_of(report, "failed"):
        raise typer.Exit(1)


def figures(
    report: Annotated[Path, typer.Option(help="A report that `bitlm bench all` has made.")] = Path("examples/report") / REPORT,
    readme: Annotated[Path | None, typer.Option(help="Write its section of figures.")] = None,
    records: Annotated[Path | None, typer.Option(help="Write its section of records.")] = None,
) -> None:
    """Make the figures of README.md and examples/RECORDS.md of a report; without a file, print README's."""
    try:
        found: Report = json.loads(report.read_text(encoding="utf-8"))
        made = {sections.FIGURES: sections.readme_section(found), sections.RECORDED: sections.records_section(found)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BenchError(f"{report} is no report of `bitlm bench all`: make one with it") from None
    targets = {sections.FIGURES: readme, sections.RECORDED: records}
    for name, path in targets.items():
        if path is not None:
            _place(path, name, made[name])
    if readme is None and records is None:
        typer.echo(made[sections.FIGURES])


def _place(path: Path, name: str, section: str) -> None:
    try:
        path.write_text(sections.placed(path.read_text(encoding="utf-8"), name, section), encoding="utf-8")
    except sections.SectionError as error:
        raise BenchError(f"{path}: {error}") from None


def _chosen(names: str) -> list[Case]:
    """Cases by their names or those of their benchmarks. Raises BenchError for a name of neither."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if not any(name in (case.name, case.benchmark) for case in PLAN)]
    if unknown:
        raise BenchError(f"there is no case {unknown[0]!r}: give some of {', '.join(case.name for case in PLAN)}")
    return [case for case in PLAN if case.name in asked or case.benchmark in asked]


def _run(bench: Bench, jobs: Sequence[Job]) -> None:
    bench.tell(f"{len(jobs)} cases, about {_minutes(jobs):.0f} minutes; what ends is kept in {bench.out}")
    try:
        with _stopped_by_signals():
            run_jobs(bench, jobs)
    except KeyboardInterrupt:
        raise BenchError(f"stopped; what has ended is in {bench.out}, and the same command goes on from there") from None


def _minutes(jobs: Sequence[Job]) -> float:
    return sum(job.case.seconds / (1 if job.case.alone else LANES) for job in jobs) / 60


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is running as Ctrl-C does, and not this process alone."""

    def stop(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(bench: Bench, found: dict[str, Job | None]) -> Report:
    absent = {
        case.name: [reference for reference in case.needs if bench.inputs.path(reference) is None]
        for case in PLAN
        if found[case.name] is None
    }
    return report_of(PLAN, lambda case: read_record(bench.out, case.name), absent)


def _write(out: Path, report: Report) -> None:
    out.mkdir(parents=True, exist_ok=True)
    pictures = draw_all(report)
    for name, (picture, _) in pictures.items():
        (out / name).write_text(picture, encoding="utf-8")
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / PAGE).write_text(markdown(report, {name: alt for name, (_, alt) in pictures.items()}), encoding="utf-8")


def _summary(out: Path, report: Report, ran: int, seconds: float) -> dict[str, Any]:
    limits, goals = bounds_of(report, "limit"), bounds_of(report, "goal")
    return {
        "ran": ran,
        **{state.replace(" ", "_"): len(states_of(report, state)) for state in ("measured", "failed", "not run")},
        "failed_cases": states_of(report, "failed"),
        "limits": limits[1],
        "limits_missed": len(limits[0]),
        "goals": goals[1],
        "goals_missed": len(goals[0]),
        "wall_seconds": round(seconds, 1),
        "report": str(out / PAGE),
    }
