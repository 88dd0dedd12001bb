"""A run's picture: whole, bounded, harmless, and true to its extremes."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from bitlm_core.errors import ConfigError
from bitlm_core.telemetry.plot import MAX_COLUMNS, draw_run, thin_column

SVG = "{http://www.w3.org/2000/svg}"


def points(count: int) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "bits_per_byte": 8 / step,
            "grad_norm": 1.0,
            **({"k": 0.5, "c": 0.25, "s": 1.0} if step % 10 == 0 else {}),
        }
        for step in range(1, count + 1)
    ]


def read(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - our own


def test_every_metric_that_was_measured_has_its_line_and_its_last_value() -> None:
    root = read(draw_run(points(100), "run"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"network 0.08", "K 0.5", "C 0.25", "S 1", "before clipping 1", "1", "100"} <= set(texts)
    assert not any("nats" in str(text) for text in texts)  # never measured
    lines = [path for path in root.iter(f"{SVG}path") if path.get("fill") == "none"]
    assert len(lines) == 5


def test_places_are_right_by_hand() -> None:
    drawn = draw_run([{"step": 10, "k": 0.0}, {"step": 20, "k": 1.0}], "run")
    # The one panel is 640 wide from 64 on and 130 high from 58 on: 0 is at its bottom left, 1 at its top right.
    assert "M64.0 188.0L704.0 58.0h0" in drawn


@pytest.mark.parametrize("count", [1, 2, 100_000])
def test_the_size_is_bounded_whatever_the_length(count: int) -> None:
    assert len(draw_run(points(count) if count > 2 else [{"step": 3, "k": 0.5}] * count, "run")) < 120_000


def test_a_spike_of_one_step_is_drawn() -> None:
    column = [(step, 1.0) for step in range(100_000)]
    column[54_321] = (54_321, 7.0)
    kept = thin_column(column, MAX_COLUMNS)
    assert (54_321, 7.0) in kept and len(kept) <= 2 * MAX_COLUMNS + 2
    assert kept[0] == column[0] and kept[-1] == column[-1] and kept == sorted(kept)


def test_what_is_no_number_is_left_out_and_a_title_is_text() -> None:
    root = read(draw_run([{"step": 1, "k": float("nan")}, {"step": 2, "k": 0.5}], "</text><script>alert(1)</script>\x00"))
    assert not any("script" in element.tag for element in root.iter())


@pytest.mark.parametrize("nothing", [[], [{"step": 1, "k": None}]])
def test_nothing_cannot_be_drawn(nothing: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw_run(nothing, "run")
