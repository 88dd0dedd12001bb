"""The parts of README.md and examples/RECORDS.md that are made of a report, so that no figure there is written by hand.

Each stands between two comments, `<!-- NAME:begin -->` and `<!-- NAME:end -->`; all else in the file stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitlm_mcp.bench_all.peers import LPAQ1
from bitlm_mcp.bench_all.reporting import Report, amount, number, place_of

FIGURES, RECORDED = "figures", "records"
"""Names of the two sections: README's and that of the records."""
_PLACE = re.compile(r"\{([^{}]+)\}")


class SectionError(Exception):
    """A file without the comments between which a section belongs."""


@dataclass(frozen=True)
class Row:
    """A row of README's table, with the command of `case`.

    Texts name figures in braces, as the report does. `beside`: with what that compares; what was not measured is left out.
    """

    case: str
    what: str
    measured: str
    beside: tuple[str, ...] = ()


WEAK = "a step of one process, as a share of a step of two with as many windows each: preset {}"
ROWS = (
    Row(
        "learn-text",
        "the last tenth of Python's language reference, the rest learned for 60 CPU seconds on one thread: bits per byte",
        "{learn-text.bpb_online} adapting, {learn-text.bpb_static} frozen",
        ("xz {learn-text.bpb_xz}, bzip2 {learn-text.bpb_bzip2}, given the rest",),
    ),
    Row(
        "learn-180",
        "the same of tinyshakespeare after 180",
        "{learn-180.bpb_online} adapting, {learn-180.bpb_static} frozen",
        (
            "xz {learn-180.bpb_xz}, bzip2 {learn-180.bpb_bzip2}",
            "where nanoGPT's CPU recipe is then, 2.739, after {learn-180.seconds_to_2739_mixed} s",
        ),
    ),
    Row(
        "compress",
        f"{len(LPAQ1)} files compressed without a model: geometric mean of bits per byte",
        "{compress.geometric_mean_bpb}",
        (
            "xz {compress.peers.xz.geometric_mean_bpb}",
            "zstd -22 {compress.peers.zstd.geometric_mean_bpb}",
            "{compress.ratio_to_lpaq1} × lpaq1",
        ),
    ),
    Row(
        "records-hdfs",
        "log lines coded alone, in whole bytes, by what others taught: bits per byte",
        "{records-hdfs.bpb}",
        ("{records-hdfs.bytes_per_second} bytes per CPU second",),
    ),
    Row(
        "anomaly-modbus",
        "network packets of which one to three bytes were changed: area under the ROC curve",
        "{anomaly-modbus.auroc} frozen, {anomaly-modbus.streaming_auroc} learning on",
        ("by length alone {anomaly-modbus.length_auroc}",),
    ),
    Row(
        "generate",
        "bytes decoded per second in int8 on one thread, by 0.8, 5 and 25 million parameters",
        "{generate.bytes_per_second_int8_0.8M}, {generate.bytes_per_second_int8_5M}, {generate.bytes_per_second_int8_25M}",
        (
            "PyTorch in fp32 {generate.bytes_per_second_torch_0.8M}, {generate.bytes_per_second_torch_5M}, "
            "{generate.bytes_per_second_torch_25M}",
        ),
    ),
    Row(
        "repair-text",
        "damaged bytes of a text that come back: at known places",
        "{repair-text.exact}",
        ("at unknown ones precision {repair-text.precision}, recall {repair-text.recall}",),
    ),
    Row(
        "diffusion",
        "tinyshakespeare by masked diffusion after 180 CPU seconds: upper bound on bits per byte",
        "{diffusion.bpb_bound}",
        ("holes of 1, 2 and 4 bytes restored {diffusion.holes_1}, {diffusion.holes_2}, {diffusion.holes_4}",),
    ),
    Row(
        "quantize",
        "the file of a model in int8 and in int4, as a share of that in fp32",
        "{quantize.file_ratio_int8}, {quantize.file_ratio_int4}",
        ("for {quantize.cost_int8} and {quantize.cost_int4} bits per byte more",),
    ),
    Row(
        "telemetry",
        "K, C and S measured at every step: share of the step's time",
        "{telemetry.kcs_share}",
        ("looks at attention {telemetry.attention_share}",),
    ),
    Row(
        "serve",
        "a tool call beyond the SDK's own empty tool, CPU milliseconds",
        "{serve.overhead_ms}",
        ("start, tools/list and end {serve.start_to_end_cpu_s} CPU-s",),
    ),
    Row(
        "scaling-base",
        WEAK.format("base"),
        "{scaling-base.ddp_efficiency} ddp, {scaling-base.fsdp_efficiency} fsdp, {scaling-base.pipeline_efficiency} pipeline",
        ("expected of ddp {scaling-base.ddp_expected}",),
    ),
    Row(
        "scaling-small",
        WEAK.format("small"),
        "{scaling-small.ddp_efficiency} ddp",
        ("expected {scaling-small.ddp_expected}",),
    ),
    Row(
        "pages",
        "milliseconds from a step of a training until 50 open pages hear of it",
        "{pages.event_ms_median}, p95 {pages.event_ms_p95}",
        ("the training is {pages.lost_cpu_percent_median} % slower by CPU time",),
    ),
)
"""Which figures matter to a user, in this order."""


def readme_section(report: Report) -> str:
    """The figures that matter to a user, each with its command; a row whose figures were not all measured is left out."""
    lines = [
        f"Measured by `bitlm bench all` ({place_of(report)}); "
        "all of it, with what was missed and what `FILE:first` stands for: `examples/report/report.md`.",
        "",
    ]
    lines += ["| what | measured | beside it | command |", "|---|---|---|---|"]
    for row in ROWS:
        told, measured = report["cases"].get(row.case, {}), _filled(row.measured, report["figures"])
        if measured and told.get("state") == "measured" and not told["learned_instead"]:
            beside = "; ".join(filter(None, (_filled(part, report["figures"]) for part in row.beside)))
            lines.append(f"| {row.what} | {measured} | {beside} | `{_short(told['command'])}` |")
    return "\n".join(lines)


def records_section(report: Report) -> str:
    """Every case that was measured, in a row of its own, as records are kept."""
    lines = [f"{place_of(report)}.", "", "| what | figures | date, commit | command |", "|---|---|---|---|"]
    for told in report["cases"].values():
        if told["state"] == "measured":
            figures = "; ".join(f"{figure['label']} {amount(figure)}{_missed(figure)}" for figure in told["figures"])
            instead = f" Learned: {told['learned_instead']}." if told["learned_instead"] else ""
            when = f"{told['date'][:10]}, {told['commit']}"
            lines.append(f"| {told['measures']}{instead} | {figures} | {when} | `{_short(told['command'])}` |")
    return "\n".join(lines)


def placed(document: str, name: str, section: str) -> str:
    """The document with the section in its place. Raises SectionError where there is none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SectionError(f"there is no {begin} with {end} after it: put both where the section belongs")
    return f"{before}{begin}\n{section}\n{end}{after}"


def _filled(template: str, figures: Mapping[str, Any]) -> str:
    """The text with its figures; nothing where one of them is missing."""
    if any(figures.get(name) is None for name in _PLACE.findall(template)):
        return ""
    return _PLACE.sub(lambda found: number(figures[found[1]]), template)


def _missed(figure: Mapping[str, Any]) -> str:
    """Whether it is worse than it had to be, or was to be."""
    worse = [name for name in ("limit", "goal") if figure.get(f"{name}_met") is False]
    return f" ({worse[0]} {number(figure[worse[0]])} missed)" if worse else ""


def _short(command: str) -> str:
    """A command of dozens of files with the first of them."""
    words = command.split()
    return command if len(words) <= 16 else " ".join([*words[:4], "…", *words[-1:]])
