"""A run as a picture: one self-contained SVG with a panel for each group of metrics over steps.

Long runs are drawn in at most `MAX_COLUMNS` columns, of each the smallest and the largest value, so that a spike of a single
step is still seen, and a million steps make no larger file than a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitlm_core.errors import ConfigError
from bitlm_core.telemetry.svg import label, opening, plain

MAX_COLUMNS = 320
_LEFT, _WIDTH, _HEIGHT, _TOP, _GAP, _RIGHT = 64, 640, 130, 40, 46, 16
_COLOURS = ("#1f6feb", "#d7301f", "#2e8b57", "#8250df", "#b8860b", "#555555")


@dataclass(frozen=True)
class Panel:
    """What is drawn in one pair of axes: names of columns and how they are called there; `bounds` where the range is known."""

    title: str
    lines: Mapping[str, str]
    bounds: tuple[float, float] | None = None


PANELS = (
    Panel("bits per byte: lower is better", {
        "bits_per_byte": "network", "bits_per_byte_mixed": "with context mixing", "bits_per_byte_held_out": "held out",
    }),
    Panel("K, C, S", {"k": "K", "c": "C", "s": "S", "composite": "composite"}, (0.0, 1.0)),
    Panel("share of neighbouring bits that differ", {"transition_rate": "transition rate"}, (0.0, 1.0)),
    Panel("entropy of attention, nats", {"attention_entropy": "mean of layers and heads"}),
    Panel("divergence from the training data's bytes, nats", {"symbiosis_kl": "symbiosis_kl"}),
    Panel("patches, bytes", {"patch_mean": "mean", "patch_spread": "standard deviation"}),
    Panel("gradient norm", {"grad_norm": "before clipping"}),
)  # fmt: skip


def draw_run(points: Sequence[Mapping[str, Any]], title: str, panels: Sequence[Panel] = PANELS) -> str:
    """The SVG of points that carry `step` and any of the panels' columns; `title` may be any text.

    Panels without a value are left out. Raises ConfigError where nothing is left to draw.
    """
    shown = [panel for panel in panels if any(_column(points, name) for name in panel.lines)]
    if not shown:
        raise ConfigError(f"{len(points)} recorded steps have nothing to draw: train the model first")
    height = _TOP + len(shown) * (_HEIGHT + _GAP)
    steps = [int(point["step"]) for point in points]
    parts = [opening(_LEFT + _WIDTH + _RIGHT, height, title), label(8, 20, f"{title}: steps {steps[0]:,} to {steps[-1]:,}")]
    for number, panel in enumerate(shown):
        parts.append(_panel(points, panel, (steps[0], steps[-1]), _TOP + 18 + number * (_HEIGHT + _GAP)))
    return "".join([*parts, "</svg>\n"])


def _panel(points: Sequence[Mapping[str, Any]], panel: Panel, span: tuple[int, int], top: int) -> str:
    columns = {name: _column(points, name) for name in panel.lines}
    drawn = {name: column for name, column in columns.items() if column}
    low, high = panel.bounds or _range([value for column in drawn.values() for _, value in column])
    parts = [label(_LEFT, top - 6, panel.title)]
    for part in range(5):
        value, y = low + part * (high - low) / 4, top + _HEIGHT * (1 - part / 4)
        parts.append(f"<path d='M{_LEFT} {y:g}h{_WIDTH}' stroke='#ddd'/>" + label(_LEFT - 6, y + 4, f"{value:.3g}", end=True))
    for step, x, end in ((span[0], _LEFT, False), (span[1], _LEFT + _WIDTH, True)):
        parts.append(label(x, top + _HEIGHT + 14, f"{step:,}", end=end))
    at = _LEFT + _WIDTH
    for index, name in reversed(list(enumerate(panel.lines))):
        if name in drawn:
            parts.append(_line(drawn[name], span, (low, high), top, _COLOURS[index]))
            text = f"{panel.lines[name]} {drawn[name][-1][1]:.3g}"
            parts.append(f"<g fill='{_COLOURS[index]}'><title>{plain(text)}</title>{_key(at, top - 14, text)}</g>")
            at -= 7 * len(text) + 26
    return "".join(parts)


def _key(right: int, y: int, text: str) -> str:
    return f"<rect x='{right - 7 * len(text) - 14}' y='{y}' width='9' height='9'/>" + label(right, y + 8, text, end=True)


def _line(column: list[tuple[int, float]], span: tuple[int, int], values: tuple[float, float], top: int, colour: str) -> str:
    """One metric; a single measurement is a dot."""
    width, (low, high) = max(1, span[1] - span[0]), values
    places = [
        (_LEFT + _WIDTH * (step - span[0]) / width, top + _HEIGHT * (1 - (min(max(value, low), high) - low) / (high - low)))
        for step, value in thin_column(column, MAX_COLUMNS)
    ]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f"<path d='M{path}h0' fill='none' stroke='{colour}' stroke-width='1.3' stroke-linecap='round'/>"


def thin_column(column: list[tuple[int, float]], num_stretches: int) -> list[tuple[int, float]]:
    """The smallest and the largest of each stretch, and both ends; all where that is no less."""
    if len(column) <= 2 * num_stretches:
        return column
    kept = {0, len(column) - 1}
    for part in range(num_stretches):
        left, right = (len(column) * edge // num_stretches for edge in (part, part + 1))
        kept |= {pick(range(left, right), key=lambda index: column[index][1]) for pick in (min, max)}
    return [column[index] for index in sorted(kept)]


def _column(points: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Steps and values of a metric where it was measured, and is a number."""
    values = ((int(point["step"]), point.get(name)) for point in points)
    return [(step, float(value)) for step, value in values if value is not None and math.isfinite(value)]


def _range(values: list[float]) -> tuple[float, float]:
    """From 0, or from the smallest where that is far from it, to the largest; never empty."""
    low, high = min(values), max(values)
    low = 0.0 if 0 <= low < high / 2 or low == high else low
    return (low, high) if high > low else (min(0.0, high), max(high, low) or 1.0)
