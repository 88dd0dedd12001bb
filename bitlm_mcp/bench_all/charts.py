"""Bars and lines as self-contained SVG, for a file or a page: readable on light and on dark, with a title that is read aloud.

A picture has no script and loads nothing. Numbers are written where they belong, so that none must be read off an axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP = 720, 200, 70, 58
LONGEST = 28
"""Letters of a name beside bars."""
ROW, BAR, GAP, LINES_HEIGHT, FOOT = 15, 11, 9, 260, 46
SERIES = 6
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.soft{fill:#59636e}
.back{fill:#fff}.grid{stroke:#d1d9e0}.c0{fill:#0969da;stroke:#0969da}.c1{fill:#bc4c00;stroke:#bc4c00}.c2{fill:#1a7f37;stroke:#1a7f37}
.c3{fill:#8250df;stroke:#8250df}.c4{fill:#9a6700;stroke:#9a6700}.c5{fill:#6e7781;stroke:#6e7781}.line{fill:none;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.back{fill:#0d1117}.grid{stroke:#3d444d}
.c0{fill:#4493f8;stroke:#4493f8}.c1{fill:#f0883e;stroke:#f0883e}.c2{fill:#3fb950;stroke:#3fb950}.c3{fill:#ab7df8;stroke:#ab7df8}
.c4{fill:#d29922;stroke:#d29922}.c5{fill:#9198a1;stroke:#9198a1}.line{fill:none}}
"""


@dataclass(frozen=True)
class Bars:
    """A group of bars for each name, one for each series. groups: {group: {series: value}}; `logarithmic`: of the lengths.

    alt: what the picture says, in a sentence, for who cannot see it.
    """

    title: str
    alt: str
    axis: str
    groups: Mapping[str, Mapping[str, float]]
    logarithmic: bool = False


@dataclass(frozen=True)
class Lines:
    """Points (x, y) of each series, joined; of `levels`, a dashed line across. x is drawn by its logarithm."""

    title: str
    alt: str
    axis: str
    x_axis: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    levels: Mapping[str, float]


def draw_bars(chart: Bars) -> str:
    """The SVG of a chart with at least one value, all of them positive."""
    names = list(dict.fromkeys(name for group in chart.groups.values() for name in group))
    values = [value for group in chart.groups.values() for value in group.values()]
    low = min(values) / 3 if chart.logarithmic else 0.0
    parts, y = list[str](), TOP + 18.0
    for group, bars in chart.groups.items():
        parts.append(_text(LEFT - 8, y + ROW * len(bars) / 2 + 4, _short(group), end=True))
        for name, value in bars.items():
            length = (WIDTH - LEFT - RIGHT) * _share(value, low, max(values), chart.logarithmic)
            tip = f"<title>{_plain(f'{group}, {name}: {value:,.4g}')}</title>"
            bar = f"<rect class='c{names.index(name) % SERIES}' x='{LEFT}' y='{y:g}' width='{length:.1f}' height='{BAR}'/>"
            parts.append(f"<g>{tip}{bar}</g>" + _text(LEFT + length + 5, y + 10, _number(value), soft=True))
            y += ROW
        y += GAP
    axis = chart.axis + (", on a logarithmic scale" if chart.logarithmic else "")
    return _picture(chart.title, chart.alt, y + 26, [_key(names), *parts, _text(LEFT, y + 12, axis, soft=True)])


def draw_lines(chart: Lines) -> str:
    """The SVG of a chart with at least one point; x is positive."""
    points = [point for line in chart.series.values() for point in line]
    xs = [math.log(x) for x, _ in points]
    ys = [y for _, y in points] + list(chart.levels.values())
    margin = 0.06 * (max(ys) - min(ys) or 1.0)
    low, high = min(ys) - margin, max(ys) + margin
    bottom, width = TOP + 18 + LINES_HEIGHT, WIDTH - LEFT - RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - min(xs)) / (max(xs) - min(xs) or 1.0)
        return LEFT + width * across, bottom - LINES_HEIGHT * (y - low) / (high - low)

    parts = [f"<path class='grid' d='M{LEFT} {TOP + 18}V{bottom}h{width}' fill='none'/>"]
    for x in sorted({x for x, _ in points}):
        parts.append(_text(place(x, low)[0] - 6, bottom + 16, f"{x:g}", soft=True))
    for name, level in chart.levels.items():
        y = place(points[0][0], level)[1]
        parts.append(f"<path class='grid' d='M{LEFT} {y:.1f}h{width}' stroke-dasharray='4 4'/>")
        parts.append(_text(LEFT - 8, y + 4, f"{name} {_number(level)}", end=True, soft=True))
    for index, (name, line) in enumerate(chart.series.items()):
        path = "L".join("{:.1f} {:.1f}".format(*place(*point)) for point in line)
        parts.append(f"<path class='c{index % SERIES} line' d='M{path}'/>")
        for point in line:
            at = place(*point)
            dot = f"<circle class='c{index % SERIES}' cx='{at[0]:.1f}' cy='{at[1]:.1f}' r='3.5'/>"
            tip = f"<title>{_plain(f'{name}, {point[0]:g}: {point[1]:,.4g}')}</title>"
            parts.append(f"<g>{tip}{dot}</g>" + _text(at[0] + 7, at[1] - 6, _number(point[1]), soft=True))
    parts.append(_text(12, bottom + 34, f"{chart.x_axis}, on a logarithmic scale; upwards {chart.axis}", soft=True))
    return _picture(chart.title, chart.alt, bottom + FOOT, [_key(list(chart.series)), *parts])


def _picture(title: str, alt: str, height: float, parts: Sequence[str]) -> str:
    size = f"width='{WIDTH}' height='{height:g}' viewBox='0 0 {WIDTH} {height:g}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-labelledby='t d'>"
    named = f"<title id='t'>{_plain(title)}</title><desc id='d'>{_plain(alt)}</desc><style>{_STYLE}</style>"
    ground = f"<rect class='back' width='100%' height='100%'/><text class='title' x='12' y='24'>{_plain(title)}</text>"
    return "\n".join([head + named + ground, *parts, "</svg>\n"])


def _key(names: Sequence[str]) -> str:
    """Which colour is which, in a line under the title; of one series there is nothing to tell."""
    parts, x = list[str](), 12.0
    for index, name in enumerate(names if len(names) > 1 else ()):
        parts.append(f"<rect class='c{index % SERIES}' x='{x:g}' y='36' width='10' height='10'/>" + _text(x + 15, 46, name))
        x += 36 + 6.6 * len(name)
    return "".join(parts)


def _share(value: float, low: float, high: float, logarithmic: bool) -> float:
    return math.log(value / low) / math.log(high / low) if logarithmic else value / high


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _text(x: float, y: float, text: str, *, end: bool = False, soft: bool = False) -> str:
    marks = (" text-anchor='end'" if end else "") + (" class='soft'" if soft else "")
    return f"<text x='{x:.1f}' y='{y:.1f}'{marks}>{_plain(text)}</text>"


def _plain(text: str) -> str:
    return escape(text)
