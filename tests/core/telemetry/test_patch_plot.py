"""The picture of patches: every byte, every border, a threshold where there is one, and nothing that a title could do."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.inspection import PatchInspection, inspect_patches
from bitlm_core.telemetry.patch_plot import COLUMNS, MAX_DRAWN, draw_patches

SVG = "{http://www.w3.org/2000/svg}"
FIXED = PatchingConfig(scheme="fixed", stride=3)


def inspected(data: bytes, config: PatchingConfig = FIXED) -> PatchInspection:
    return inspect_patches(np.frombuffer(data, np.uint8), config)


def read(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - our own


def test_bytes_borders_and_bars() -> None:
    found = inspected(b"to be\xff<&")
    groups = read(draw_patches(found, "words")).findall(f"{SVG}g")
    assert [group.findtext(f"{SVG}text") for group in groups] == ["t", "o", None, "b", "e", None, "<", "&"]
    assert (
        [group.find(f"{SVG}path") is not None for group in groups]
        == found.starts.tolist()
        == [True, False, False] * 2
        + [
            True,
            False,
        ]
    )
    assert groups[0].findtext(f"{SVG}title") == f"0: 0x74, {found.entropies[0]:.2f} bits"
    bar = groups[0].find(f"{SVG}rect")
    assert bar is not None and float(bar.get("height", 0)) == pytest.approx(40 * found.entropies[0] / 8, abs=0.05)


def test_a_threshold_is_drawn_where_there_is_one(text: bytes) -> None:
    for config, lines in ((FIXED, 0), (PatchingConfig(), 3), (PatchingConfig(monotonic=True, adaptive=True), 3)):
        root = read(draw_patches(inspected(text[: 2 * COLUMNS + 5], config), "t"))
        found = root.findall(f"{SVG}path")
        assert len(found) == lines and all(path.get("stroke") == "#d00" for path in found)
        caption = " ".join(element.text or "" for element in root.findall(f"{SVG}text"))
        assert ("threshold" in caption) == (lines > 0) and ("adaptive" in caption) == config.adaptive


def test_a_flat_threshold_stands_at_its_height() -> None:
    root = read(draw_patches(inspected(b"abcd" * 30, PatchingConfig(entropy_threshold=2.0)), "t"))
    first = root.findall(f"{SVG}path")[0]
    assert (first.get("d") or "").startswith("M84 84.0h12L96 84.0h12")  # of 40 points for 8 bits, 10 above 94


def test_the_picture_is_bounded(text: bytes) -> None:
    drawn = draw_patches(inspected(text[: MAX_DRAWN + 100]), "t")
    assert len(read(drawn).findall(f"{SVG}g")) == MAX_DRAWN and f"the first {MAX_DRAWN:,} are drawn" in drawn
    assert len(drawn) < 2_000_000


def test_a_title_is_text_and_nothing_else() -> None:
    drawn = draw_patches(inspected(b"x"), "</text><script>alert(1)</script>&\x00'\"")
    assert not any("script" in element.tag for element in read(drawn).iter())
