"""`bitlm bench pages`: the pages look on, the training goes on, and the figures are what the turns say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitlm_mcp import bench_pages
from bitlm_mcp.bench_pages import Turn, _readers, _report, _training, _turn
from bitlm_mcp.bench_reports import BenchError
from tests.mcp.workspaces import TEXT, config


def test_pages_look_on_while_a_model_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_pages, "FIRST_STEPS", 1)
    monkeypatch.setattr(bench_pages, "preset_config", lambda _: config().model)
    monkeypatch.setattr(bench_pages, "default_text", lambda: TEXT)
    told_at: dict[int, float] = {}
    with _training(tmp_path, "tiny") as (clock, port), _readers(port) as (orders, answers):
        alone = _turn(clock, orders, answers, 0, 0.01, told_at)
        assert (alone.pages, alone.bytes_read, told_at) == (0, 0, {}) and alone.cpu_s > alone.training_cpu_s >= 0
        while not told_at:
            seen = _turn(clock, orders, answers, 2, 0.2, told_at)
        assert seen.pages == 2 and seen.bytes_read > 0
        assert all(at >= clock.seen[step] for step, at in told_at.items())


def test_the_figures_are_what_the_turns_say() -> None:
    turns = [Turn(0, 10, 5.0, 4.0, 5.0, 0), Turn(50, 9, 5.0, 3.0, 6.0, 600_000), Turn(50, 8, 5.0, 4.0, 4.0, 400_000)]
    report = _report(50, [*turns, Turn(0, 10, 5.0, 4.0, 5.0, 0)], [float(ms) for ms in range(1, 101)]).flat()
    assert (report["steps_per_cpu_s_alone"], report["steps_per_cpu_s"], report["lost_cpu_percent"]) == (2.0, 1.7, 15.0)
    assert (report["steps_per_s_alone"], report["lost_wall_percent_median"]) == (2.0, 12.5)
    assert (report["beside_percent_alone"], report["beside_percent"]) == (20.0, 30.0)
    assert (report["event_ms_p95"], report["kilobytes_per_page_s"], report["turns"]) == (96.0, 2.0, 2)
    with pytest.raises(BenchError, match="give more --seconds"):
        _report(50, [Turn(0, 0, 1.0, 1.0, 1.0, 0), turns[1]], [1.0])
    with pytest.raises(BenchError, match="no step was told"):
        _report(50, turns, [])
