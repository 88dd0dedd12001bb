"""The records of a plan as one report: a dictionary, which is written as report.json, and the same for people, as report.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitlm_mcp.bench_all.plan import LANES, TEXT, Case, Figure
from bitlm_mcp.bench_all.records import CaseRecord

Report = Mapping[str, Any]
_OF_RUNS = ("command", "wall_seconds", "cpu_seconds", "peak_mib", "load", "beside", "date", "commit")


def report_of(
    plan: Sequence[Case], record_of: Callable[[Case], CaseRecord | None], absent: Mapping[str, Sequence[str]]
) -> Report:
    """What was found. absent: of cases that cannot run, the files they need.

    Figures of two machines, or of other versions of what computes, are not told as one: the newest record says which count.
    `figures` holds everything told, as `CASE.FIGURE`. Each of `cases` has a `state`: measured, failed or not run, and why.
    """
    records = {case.name: record_of(case) for case in plan}
    newest = max((record for record in records.values() if record is not None), key=lambda record: record.date, default=None)
    machine = dict(newest.machine) if newest else {}
    good = [record for record in records.values() if record is not None and record.good and record.machine == machine]
    return {
        "machine": machine,
        "dates": sorted({record.date[:10] for record in good}),
        "commits": sorted({record.commit for record in good}),
        "core_seconds": round(sum(record.cpu_seconds for record in good)),
        "wall_seconds": round(sum(record.wall_seconds / (LANES if record.beside else 1) for record in good)),
        "cases": {case.name: _told(case, records[case.name], absent.get(case.name, ()), machine) for case in plan},
        "figures": {f"{record.case}.{name}": value for record in good for name, value in record.figures.items()},
    }


def _told(case: Case, record: CaseRecord | None, absent: Sequence[str], machine: Mapping[str, Any]) -> dict[str, Any]:
    about = {"benchmark": case.benchmark, "measures": case.measures}
    if record is None:
        why = f"needs {', '.join(absent)}: name a folder that has it with --data" if absent else "not asked for yet"
        return about | {"state": "not run", "why": why}
    if record.machine != machine:
        return about | {"state": "not run", "why": "measured on another machine, or with other versions: run it again"}
    on_text = bool(case.data) and case.data not in record.data
    run = {name: getattr(record, name) for name in _OF_RUNS}
    run["learned_instead"] = TEXT if on_text else ""
    if not record.good:
        return about | {"state": "failed", "why": record.error, "exit_code": record.exit_code} | run
    shown = [_figure(figure, record.figures.get(figure.name), bounded=not on_text) for figure in case.figures]
    return about | {"state": "measured", "figures": [figure for figure in shown if figure["value"] is not None]} | run


def _figure(figure: Figure, value: Any, *, bounded: bool) -> dict[str, Any]:
    """A figure with its bounds, and whether they are met; bounds for one file say nothing about another."""
    told: dict[str, Any] = {name: getattr(figure, name) for name in ("name", "label", "unit", "better")}
    told["value"] = value
    for name, bound in (("limit", figure.limit), ("goal", figure.goal)):
        if bounded and bound is not None and isinstance(value, int | float):
            told |= {name: bound, f"{name}_met": figure.reaches(bound, value)}
    return told


def bounds_of(report: Report, name: str) -> tuple[list[str], int]:
    """What was missed of all limits, or goals, in words; and how many there are."""
    missed, total = [], 0
    for case, told in report["cases"].items():
        for figure in told.get("figures", ()):
            if name in figure:
                total += 1
                if not figure[f"{name}_met"]:
                    missed.append(f"`{case}`: {figure['label']} {amount(figure)}, {name} {_bound(figure, name)}")
    return missed, total


def states_of(report: Report, state: str) -> list[str]:
    """The names of the cases in that state."""
    return [name for name, told in report["cases"].items() if told["state"] == state]


def amount(figure: Mapping[str, Any]) -> str:
    """A figure with its unit."""
    return number(figure["value"]) + (f" {figure['unit']}" if figure["unit"] else "")


def number(value: Any) -> str:
    """Whole from a thousand on, else with four decimals; two digits of what is less than a thousandth."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 0.001 else f"{value:.2g}"


def place_of(report: Report) -> str:
    """Machine, versions, dates and commits in a line."""
    machine = report["machine"]
    if not machine:
        return "nothing was measured"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("bitlm", "python", "torch", "numba"))
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}"
    return f"{where}; {versions}; {' to '.join(_ends(report['dates']))}, {', '.join(report['commits'])}"


def markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The report for people; pictures: what each file shows."""
    limits, goals = bounds_of(report, "limit"), bounds_of(report, "goal")
    done, failed, waiting = (states_of(report, state) for state in ("measured", "failed", "not run"))
    lines = [
        "# Benchmarks", "",
        "Made by `bitlm bench all`; with `--only NAME --again NAME` it measures one case again. `FILE:first` and `:second` are",
        "halves of a file, cut for the run; of a log with labels `:normal` is what is learned, `:ranked` all else. Bounds were",
        "set for two quiet Zen 4 cores; here they are compared as they stand.", "",
        f"- Machine: {place_of(report)}",
        f"- Cases: {len(done)} measured, {len(failed)} failed, {len(waiting)} not run",
        f"- Time: {report['core_seconds']:,} CPU seconds, about {report['wall_seconds'] / 60:.0f} minutes",
        f"- Limits held: {limits[1] - len(limits[0])} of {limits[1]}",
        f"- Goals reached: {goals[1] - len(goals[0])} of {goals[1]}", "",
        *_list("Missed", [*limits[0], *goals[0]]),
        *_list("Failed", [f"`{name}`: {report['cases'][name]['why']}" for name in failed]),
        *_list("Not run", [f"`{name}`: {report['cases'][name]['why']}" for name in waiting]),
        *[f"![{alt}]({name})\n" for name, alt in pictures.items()],
    ]  # fmt: skip
    for name in done:
        lines += _section(name, report["cases"][name])
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(name: str, told: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {figure['label']} | {amount(figure)} | {_verdict(figure, 'limit')} | {_verdict(figure, 'goal')} |"
        for figure in told["figures"]
    ]
    instead = f" Learned here: {told['learned_instead']}, for which there are no bounds." if told["learned_instead"] else ""
    beside = "another case beside it" if told["beside"] else "alone"
    took = f"{told['cpu_seconds']:.0f} CPU-s, {told['wall_seconds']:.0f} s"
    run = f"{took}, {beside}, load {told['load']}, {told['peak_mib']:,} MiB"
    return [
        f"## {name}", "", told["measures"] + instead, "",
        "| figure | value | limit | goal |", "|---|---:|---|---|", *rows, "",
        f"`{told['command']}`; {told['date']}, {told['commit']}; {run}.", "",
    ]  # fmt: skip


def _verdict(figure: Mapping[str, Any], name: str) -> str:
    if name not in figure:
        return "–"
    return f"{_bound(figure, name)}: {'met' if figure[f'{name}_met'] else '**missed**'}"


def _bound(figure: Mapping[str, Any], name: str) -> str:
    return f"{'≤' if figure['better'] == 'lower' else '≥'} {number(figure[name])}"


def _list(title: str, rows: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *[f"- {row}" for row in rows], ""] if rows else []


def _ends(dates: Sequence[str]) -> list[str]:
    return sorted({dates[0], dates[-1]}) if dates else []
