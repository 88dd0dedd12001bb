"""The picture: bounded, whole, and harmless whatever its title."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from bitlm_core.errors import ConfigError
from bitlm_core.scoring.heatmap import COLUMNS, MAX_CELLS, cells_of, heat_map

SVG = "{http://www.w3.org/2000/svg}"


def read(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - our own


def test_cells_keep_the_mean_and_the_largest_byte() -> None:
    cells = cells_of(np.arange(MAX_CELLS * 2 + 3, dtype=np.float32))
    assert cells.size == 3 and len(cells.mean) == len(cells.peak) == 2732 <= MAX_CELLS
    assert (cells.mean[0], cells.peak[0]) == (1.0, 2.0)
    assert (cells.mean[-1], cells.peak[-1]) == (8193.5, 8194.0)  # of two bytes
    fewer = cells_of(np.arange(7, dtype=np.float32), 3)
    assert (fewer.size, fewer.mean.tolist(), fewer.peak.tolist()) == (3, [1, 4, 6], [2, 5, 6])


@pytest.mark.parametrize("length", [1, COLUMNS, MAX_CELLS, 10 * MAX_CELLS + 7])
def test_the_number_of_cells_is_bounded_whatever_the_size(length: int) -> None:
    root = read(heat_map(np.zeros(length, np.float32), "data"))
    assert len(root.findall(f"{SVG}g")) == len(cells_of(np.zeros(length, np.float32)).mean) <= MAX_CELLS


def test_one_odd_byte_in_a_megabyte_is_seen() -> None:
    surprise = np.zeros(1 << 20, np.float32)
    surprise[700_000] = 20
    groups = read(heat_map(surprise, "data")).findall(f"{SVG}g")
    colours = [group.findall(f"{SVG}rect")[0].get("fill") for group in groups]
    assert len(set(colours)) == 2 and colours.count(colours[700_000 // 256]) == 1
    (title,) = groups[700_000 // 256].findall(f"{SVG}title")
    assert title.text == f"{700_000 // 256 * 256:,}: mean 0.08, largest 20.00 bits"


def test_offsets_and_a_legend_in_bits_are_there() -> None:
    root = read(heat_map(np.zeros(3 * COLUMNS, np.float32), "data"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"0", "64", "128", "bits a byte", "0–2", "14+"} <= set(texts)


def test_a_title_is_text_and_nothing_else() -> None:
    hostile = "</text><script>alert(1)</script>&\x00\x1b'\"\ud800"
    drawn = heat_map(np.ones(5, np.float32), hostile)
    root = read(drawn)
    assert not any("script" in element.tag for element in root.iter())
    assert root.findall(f"{SVG}title")[0].text == "</text><script>alert(1)</script>&??'\"?"
    assert "href" not in drawn and "style" not in drawn
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="0 bytes"):
        heat_map(np.zeros(0, np.float32), "data")
