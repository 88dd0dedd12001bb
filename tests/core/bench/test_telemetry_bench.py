"""The benchmark of telemetry: costs that were measured, drift that is found where it is planted and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.bench import telemetry
from bitlm_core.bench.telemetry import MEASUREMENTS, SHIFT, TelemetryReport, healthy_run, shifted_run, telemetry_steps


def test_costs_and_drift_are_measured(text: bytes) -> None:
    *shares, report = telemetry_steps(text[:9000], "tiny", steps=1, drift_runs=60)
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] < 1
    assert isinstance(report, TelemetryReport)
    assert report.kcs_share == pytest.approx(report.kcs_ms / report.step_ms) and report.kcs_share > 0
    assert report.attention_share * report.attention_every == pytest.approx(report.attention_ms / report.step_ms)
    assert (report.drift_false_alarms, report.drift_found, report.drift_shifts) == (0, 60, 60)
    assert 1 <= report.drift_delay <= 2 * report.drift_window


def test_a_shift_is_a_shift_and_a_healthy_run_learns() -> None:
    for seed in range(30):
        healthy, (shifted, metric, at) = healthy_run(seed), shifted_run(seed)
        moved = shifted[metric] - healthy[metric]
        assert np.allclose(abs(moved[at:]), SHIFT) and not moved[:at].any() and 80 <= at <= MEASUREMENTS - 20
        assert all(np.array_equal(shifted[other], healthy[other]) for other in healthy.keys() - {metric})
    assert healthy["k"][0] < 0.1 < 0.7 < healthy["k"][-1]


def test_a_blind_detector_would_be_noticed(monkeypatch, text: bytes) -> None:
    monkeypatch.setattr(telemetry, "SHIFT", 0.0)
    assert [telemetry._delay(seed, telemetry.TelemetryConfig()) for seed in range(20)] == [None] * 20
