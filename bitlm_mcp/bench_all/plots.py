"""The pictures of a report, each of what was measured alone: one that nothing was measured for is not drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bitlm_mcp.bench_all.cases_models import SIZES
from bitlm_mcp.bench_all.charts import Bars, Lines, draw_bars, draw_lines
from bitlm_mcp.bench_all.peers import LPAQ1, LPAQ1_GIVEN_THE_REST
from bitlm_mcp.bench_all.reporting import Report

Figures = Mapping[str, float]
_LEARNED = {20: "learn-20", 60: "learn-60", 180: "learn-180"}


def draw_all(report: Report) -> dict[str, tuple[str, str]]:
    """SVG and what it shows, by the name of the file."""
    figures = {name: value for name, value in report["figures"].items() if isinstance(value, int | float)}
    drawn = {name: draw(figures, report) for name, draw in PICTURES.items()}
    return {name: picture for name, picture in drawn.items() if picture is not None}


def _bars(chart: Bars) -> tuple[str, str] | None:
    return (draw_bars(chart), chart.alt) if any(chart.groups.values()) else None


def _compression(figures: Figures, report: Report) -> tuple[str, str] | None:
    """Each file, by the gain."""
    groups = {}
    for name in LPAQ1:
        ours = figures.get(f"compress.files.{name}.bpb")
        xz = figures.get(f"compress.peers.xz.files.{name}")
        if ours is not None and xz is not None:
            groups[name] = {"bitlm": ours, "lpaq1 (as once measured)": LPAQ1[name], "xz -9e": xz}
    title = "Files compressed without a model"
    alt = f"{title}: bits per byte of {len(groups)} files by bitlm, lpaq1 and xz. Shorter is better."
    return _bars(Bars(title, alt, "bits per byte, shorter is better", groups))


def _learning(figures: Figures, report: Report) -> tuple[str, str] | None:
    """How bits per byte fall with the time of learning."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, label in {"bpb_online": "adapting", "bpb_static": "frozen", "bpb_network": "the network alone"}.items():
        points = [
            (float(seconds), figures[f"{case}.{name}"])
            for seconds, case in _LEARNED.items()
            if _shakespeare(report, case, name)
        ]
        lines |= {label: points} if points else {}
    if not lines:
        return None
    levels = {"lpaq1": LPAQ1_GIVEN_THE_REST}
    levels |= {
        peer: figures[f"{case}.bpb_{peer}"]
        for case in _LEARNED.values()
        for peer in ("bzip2", "xz")
        if _shakespeare(report, case, f"bpb_{peer}")
    }
    title = "Learning tinyshakespeare"
    alt = f"{title}: bits per byte of its last tenth by CPU seconds of learning; dashed, compressors given the first 90 %."
    return draw_lines(Lines(title, alt, "bits per byte, lower is better", "CPU seconds of one thread", lines, levels)), alt


def _shakespeare(report: Report, case: str, name: str) -> bool:
    """Whether that was measured, and of this text."""
    told = report["cases"].get(case, {})
    return (
        told.get("state") == "measured" and not told["learned_instead"] and report["figures"].get(f"{case}.{name}") is not None
    )


def _decoding(figures: Figures, report: Report) -> tuple[str, str] | None:
    """Speed by size."""
    kinds = {
        "bytes_per_second_int8": "int8",
        "bytes_per_second_mixing_int8": "int8, context mixing",
        "bytes_per_second": "fp32",
        "bytes_per_second_torch": "PyTorch fp32",
    }
    groups = {}
    for size in SIZES:
        measured = {label: figures.get(f"generate.{name}_{size}") for name, label in kinds.items()}
        groups[f"{size} parameters"] = {label: value for label, value in measured.items() if value}
    title = "Decoding, one thread, one stream"
    alt = f"{title}: bytes per second by the size of the network and by how it is computed. Longer is better."
    return _bars(Bars(title, alt, "bytes per second, longer is better", groups, logarithmic=True))


def _codecs(figures: Figures, report: Report) -> tuple[str, str] | None:
    """Speed in and out."""
    names = {"model": "context mixing", "lzma": "lzma", "zstd": "zstd -19", "zlib": "zlib -9"}
    groups = {}
    for name, label in names.items():
        ratio, speeds = figures.get(f"codecs.ratio_{name}"), {"in": f"codecs.in_mb_s_{name}", "out": f"codecs.out_mb_s_{name}"}
        if ratio is not None:
            groups[f"{label}, to {ratio:.3f}"] = {way: figures[key] for way, key in speeds.items() if figures.get(key)}
    title = "Codecs: speed, and the share that is left"
    alt = f"{title}: megabytes per CPU second in and out, by codec. Longer is better."
    return _bars(Bars(title, alt, "MB per CPU second, longer is better", groups, logarithmic=True))


def _records(figures: Figures, report: Report) -> tuple[str, str] | None:
    """What odd records are found, beside what their length tells."""
    names = {"anomaly-bgl": "log of a supercomputer", "anomaly-modbus": "Modbus packets", "anomaly-http": "HTTP parameters"}
    kinds = {"auroc": "frozen", "streaming_auroc": "learning on", "length_auroc": "by length alone"}
    groups = {}
    for case, label in names.items():
        measured = {kind: figures.get(f"{case}.{name}") for name, kind in kinds.items()}
        groups[label] = {kind: value for kind, value in measured.items() if value}
    title = "Odd records found"
    alt = f"{title}: area under the ROC curve by data set, frozen, learning on, and by length alone. Longer is better."
    return _bars(Bars(title, alt, "area under the ROC curve, longer is better", groups))


PICTURES: dict[str, Callable[[Figures, Report], tuple[str, str] | None]] = {
    "learning.svg": _learning,
    "compression.svg": _compression,
    "decoding.svg": _decoding,
    "codecs.svg": _codecs,
    "odd-records.svg": _records,
}
