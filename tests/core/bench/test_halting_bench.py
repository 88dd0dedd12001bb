"""The benchmark of halting: two networks, the same data, and figures that belong together."""

from __future__ import annotations

import pytest

from bitlm_core.bench import halting
from bitlm_core.bench.halting import HaltingReport, halting_steps


def test_both_learn_and_are_compared(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(halting, "TIMED_STEPS", 1)
    *shares, report = halting_steps(text[:6000], "tiny", num_layers=2, ponder_cost=0.5, steps=3)
    assert shares == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert isinstance(report, HaltingReport)
    assert report.bpb_ratio == pytest.approx(report.bpb_halting / report.bpb_plain)
    assert report.step_ratio == pytest.approx(report.step_ms_halting / report.step_ms_plain)
    assert 1 <= report.mean_layers <= 2 and 0 < report.bpb_plain <= 8.5
    assert report.flat()["num_layers"] == 2
