"""Surprise over offset as a picture: one self-contained SVG without scripts, to be written to a file or put into a page.

The data is cut into at most `MAX_CELLS` cells of equal length, in rows from left to right. A cell is filled by the *largest*
byte in it and has a bar, as high as its *mean*: a single odd byte in a megabyte is still seen, and so is how common oddness is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.scoring.surprise import Surprise
from bitlm_core.telemetry.svg import label, opening

MAX_CELLS = 4096
COLUMNS = 64
FULL_BITS = 16.0
"""From here on a cell has the last colour; 8 bits are what a byte costs of which nothing is known."""

_CELL, _LEFT, _TOP, _BOTTOM = 12, 92, 44, 52
_COLOURS = ("#f7fbff", "#d6e6f4", "#abd0e6", "#6aaed6", "#fdd49e", "#fc8d59", "#d7301f", "#7f0000")
_STEP = FULL_BITS / len(_COLOURS)


@dataclass(frozen=True)
class Cells:
    """size: bytes of each cell, the last may have fewer. mean, peak [cells]: bits per byte."""

    size: int
    mean: NDArray[np.float64]
    peak: NDArray[np.float64]


def cells_of(surprise: Surprise, most: int = MAX_CELLS) -> Cells:
    """At most `most` cells. Raises ConfigError where there are no bytes."""
    if not len(surprise):
        raise ConfigError("there is nothing to draw (0 bytes, at least 1): give some data")
    size = -(-len(surprise) // most)
    starts = np.arange(0, len(surprise), size)
    lengths = np.minimum(size, len(surprise) - starts)
    mean = np.add.reduceat(surprise.astype(np.float64), starts) / lengths
    return Cells(size, mean, np.maximum.reduceat(surprise, starts).astype(np.float64))


def heat_map(surprise: Surprise, title: str) -> str:
    """The SVG; `title` may be any text."""
    cells = cells_of(surprise)
    rows = -(-len(cells.mean) // COLUMNS)
    width, height = _LEFT + COLUMNS * _CELL + 20, _TOP + rows * _CELL + _BOTTOM
    about = f"{title}: {len(surprise):,} bytes, {cells.size:,} a cell; colour: largest byte, bar: mean"
    parts = [opening(width, height, title), label(8, 20, about)]
    for index, (mean, peak) in enumerate(zip(cells.mean, cells.peak, strict=True)):
        row, column = divmod(index, COLUMNS)
        x, y = _LEFT + column * _CELL, _TOP + row * _CELL
        if column == 0:
            parts.append(label(8, y + _CELL - 2, f"{index * cells.size:,}"))
        parts.append(_cell(x, y, mean, peak, index * cells.size))
    return "".join([*parts, _legend(_TOP + rows * _CELL + 16), "</svg>\n"])


def _cell(x: int, y: int, mean: float, peak: float, offset: int) -> str:
    bar = round((_CELL - 2) * min(mean, FULL_BITS) / FULL_BITS, 1)
    inside = f"<rect x='{x}' y='{y}' width='{_CELL - 1}' height='{_CELL - 1}' fill='{_colour(peak)}'/>"
    inside += f"<rect x='{x}' y='{round(y + _CELL - 1 - bar, 1)}' width='2' height='{bar}' fill='#222'/>" if bar else ""
    return f"<g><title>{offset:,}: mean {mean:.2f}, largest {peak:.2f} bits</title>{inside}</g>"


def _legend(y: int) -> str:
    parts = [label(8, y + 10, "bits a byte")]
    for index, colour in enumerate(_COLOURS):
        x = _LEFT + index * 5 * _CELL
        last = "+" if index == len(_COLOURS) - 1 else f"–{(index + 1) * _STEP:g}"
        parts.append(f"<rect x='{x}' y='{y}' width='{_CELL}' height='{_CELL}' fill='{colour}' stroke='#888'/>")
        parts.append(label(x + _CELL + 3, y + 10, f"{index * _STEP:g}{last}"))
    return "".join(parts)


def _colour(bits: float) -> str:
    return _COLOURS[min(int(bits / _STEP), len(_COLOURS) - 1)]
