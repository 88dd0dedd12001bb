"""Patches as a picture: one self-contained SVG, each byte with a bar as high as its entropy, cut where patches start.

At most `MAX_DRAWN` bytes are drawn, from the first on, in rows of `COLUMNS`. Where the rule compares entropies with a
threshold, that is a line over the bars; with `monotonic` it lies θ above the bar before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bitlm_core.patching.inspection import PatchInspection
from bitlm_core.telemetry.svg import label, opening

MAX_DRAWN = 4096
COLUMNS = 64
FULL_BITS = 8.0
_CELL, _LEFT, _TOP, _BARS, _ROW, _BOTTOM = 12, 72, 54, 40, 68, 12
_COLOURS = ("#d6e6f4", "#abd0e6", "#6aaed6", "#fdd49e", "#fc8d59", "#d7301f", "#b30000", "#7f0000")


def draw_patches(inspection: PatchInspection, title: str) -> str:
    """The SVG; `title` may be any text."""
    shown = min(len(inspection.data), MAX_DRAWN)
    rows = -(-shown // COLUMNS)
    width, height = _LEFT + COLUMNS * _CELL + 16, _TOP + rows * _ROW + _BOTTOM
    parts = [opening(width, height, title), *_caption(inspection, title, shown)]
    thresholds = inspection.thresholds(shown) if inspection.theta is not None else np.full(shown, np.nan)
    for row in range(rows):
        base = _TOP + row * _ROW + _BARS
        parts.append(label(_LEFT - 8, base + 12, f"{row * COLUMNS:,}", end=True))
        for place in range(row * COLUMNS, min((row + 1) * COLUMNS, shown)):
            parts.append(_byte(inspection, place, base))
        parts.append(_line(thresholds[row * COLUMNS : (row + 1) * COLUMNS], base))
    return "".join([*parts, "</svg>\n"])


def _caption(inspection: PatchInspection, title: str, shown: int) -> list[str]:
    found, config = inspection.statistics, inspection.config
    rule = config.scheme + (", monotonic" if config.monotonic else "") + (", adaptive" if config.adaptive else "")
    theta = "" if inspection.theta is None else f", threshold {inspection.theta:.3g} bits (red line)"
    drawn = "" if shown == len(inspection.data) else f"; the first {shown:,} are drawn"
    about = f"{title}: {len(inspection.data):,} bytes in {found.num_patches:,} patches of {found.mean:.2f} ± {found.spread:.2f}"
    return [label(8, 18, about + drawn), label(8, 34, f"{rule}{theta}; a full bar is {FULL_BITS:g} bits")]


def _byte(inspection: PatchInspection, place: int, base: int) -> str:
    """Bar, character and, where a patch starts, its border."""
    byte, bits = int(inspection.data[place]), float(inspection.entropies[place])
    x = _LEFT + place % COLUMNS * _CELL
    bar = round(_BARS * min(bits, FULL_BITS) / FULL_BITS, 1)
    colour = _COLOURS[min(int(bits), len(_COLOURS) - 1)]
    inside = f"<rect x='{x + 1}' y='{round(base - bar, 1)}' width='{_CELL - 1}' height='{bar}' fill='{colour}'/>"
    inside += label(x + 3, base + 12, chr(byte)) if 32 < byte < 127 else ""
    if inspection.starts[place]:
        inside += f"<path d='M{x} {base - _BARS}v{_BARS + 16}' stroke='#222'/>"
    return f"<g><title>{place:,}: 0x{byte:02x}, {bits:.2f} bits</title>{inside}</g>"


def _line(thresholds_C: NDArray[np.float64], base: int) -> str:
    """The threshold over the bars of a row; what lies outside of them is drawn at their edge."""
    path = ""
    for column, theta in enumerate(thresholds_C.tolist()):
        if math.isnan(theta):
            continue
        y = base - _BARS * min(max(theta, 0.0), FULL_BITS) / FULL_BITS
        path += f"{'L' if path else 'M'}{_LEFT + column * _CELL} {y:.1f}h{_CELL}"
    return f"<path d='{path}' fill='none' stroke='#d00'/>" if path else ""
