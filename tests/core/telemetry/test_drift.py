"""Drift: which moves are told, how often, and that a checkpoint forgets nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bitlm_core.errors import ConfigError
from bitlm_core.telemetry import DriftAlert, DriftDetector
from bitlm_core.telemetry.config import TelemetryConfig


def alerts_of(detector: DriftDetector, values, metric="K", first_step=0) -> list[DriftAlert]:
    return [alert for step, value in enumerate(values, first_step) for alert in detector.observe(step, {metric: value})]


def test_its_defaults_are_those_of_the_settings_of_telemetry():
    of_settings, own = TelemetryConfig().drift_detector(), DriftDetector()
    assert (of_settings.window, of_settings.threshold, of_settings.settles) == (own.window, own.threshold, own.settles)


def test_by_hand():
    # Windows of 2: (0, 0 | 0, 1) has means 0 and 0.5; 0.5 > 0.4.
    alerts = alerts_of(DriftDetector(window=2, threshold=0.4, settles=False), [0.0, 0.0, 0.0, 1.0])
    assert alerts == [DriftAlert("K", 3, 0.0, 0.5, 0.4)]
    assert alerts[0].message.startswith("K drifted from 0 to 0.5 by step 3: 0.5 is more than 0.4; ")


def test_nothing_is_told_before_two_windows_or_at_the_threshold_itself():
    assert alerts_of(DriftDetector(window=4, threshold=0.1, settles=False), [0, 0, 0, 0, 9, 9, 9]) == []
    assert alerts_of(DriftDetector(window=2, threshold=0.5, settles=False), [0, 0, 0, 1]) == []


def test_a_fall_counts_as_a_rise_does():
    (alert,) = alerts_of(DriftDetector(window=1, threshold=0.5, settles=False), [1.0, 0.0])
    assert (alert.before, alert.after) == (1.0, 0.0)


def test_an_alert_keeps_its_metric_quiet_for_one_window():
    # 0, 1, 2, …: the means of neighbouring windows of 3 always differ by 3.
    steps = [alert.step for alert in alerts_of(DriftDetector(window=3, threshold=1, settles=False), range(15))]
    assert steps == [5, 8, 11, 14]


def test_a_lasting_move_is_told_at_most_twice():
    alerts = alerts_of(DriftDetector(), [0.1] * 60 + [0.9] * 60)
    assert [alert.step for alert in alerts] == [61, 71]


def test_steady_noise_is_not_drift():
    # Window means of 10 uniform values on ±0.06: |difference| > 0.12 is impossible, whatever the seed.
    noise = 0.5 + np.random.default_rng(7).uniform(-0.06, 0.06, size=500)
    assert alerts_of(DriftDetector(), noise.tolist()) == []


def test_metrics_are_watched_apart():
    detector = DriftDetector(window=1, threshold=0.5, settles=False)
    detector.observe(0, {"K": 0.0, "C": 0.0, "S": 0.0})
    assert [alert.metric for alert in detector.observe(1, {"S": 1.0, "K": 0.1, "C": 1.0})] == ["S", "C"]
    # S is absent at step 2, C is new in nothing: only K moves now.
    assert [alert.metric for alert in detector.observe(2, {"K": 0.9, "C": 1.0})] == ["K"]


def test_a_restored_detector_goes_on_as_the_first():
    values = np.random.default_rng(11).random(120).tolist()
    unbroken = DriftDetector(window=3, threshold=0.3, settles=False)
    expected = alerts_of(unbroken, values)
    assert len(expected) > 3
    for cut in range(1, 60):
        first = DriftDetector(window=3, threshold=0.3, settles=False)
        told = alerts_of(first, values[:cut])
        second = DriftDetector(window=3, threshold=0.3, settles=False)
        second.restore(json.loads(json.dumps(first.state())))
        assert told + alerts_of(second, values[cut:], first_step=cut) == expected


def test_state_is_a_copy_and_stays_short():
    detector = DriftDetector(window=2, settles=False)
    alerts_of(detector, [0.5] * 50)
    detector.state()["values"]["K"].clear()
    assert detector.state() == {"values": {"K": [0.5] * 4}, "quiet": {"K": 0}, "agreed": {"K": 4}}


def test_restore_into_a_shorter_window_keeps_the_end():
    detector = DriftDetector(window=1, settles=False)
    detector.restore({"values": {"K": [1.0, 2.0, 3.0, 4.0]}, "quiet": {"K": 9}})
    assert detector.state() == {"values": {"K": [3.0, 4.0]}, "quiet": {"K": 1}, "agreed": {"K": 2}}


@pytest.mark.parametrize("damage", [{"values": {"K": [math.nan]}, "quiet": {}}, {"values": {"K": []}, "quiet": {"K": -1}}])
def test_restore_refuses_damage_and_changes_nothing(damage):
    detector = DriftDetector()
    detector.observe(0, {"K": 0.5})
    before = detector.state()
    with pytest.raises(ConfigError) as caught:
        detector.restore(damage)
    assert caught.value.metric == "K"
    assert detector.state() == before


def test_a_value_that_is_no_number_is_refused_before_any_is_taken():
    detector = DriftDetector()
    with pytest.raises(ConfigError) as caught:
        detector.observe(4, {"K": 0.5, "loss": math.nan})
    assert (caught.value.metric, caught.value.step) == ("loss", 4)
    assert detector.state() == {"values": {}, "quiet": {}, "agreed": {}}


@pytest.mark.parametrize(("window", "threshold"), [(0, 0.2), (10, -0.1), (10, math.nan), (10, math.inf)])
def test_settings_out_of_range(window, threshold):
    with pytest.raises(ConfigError) as caught:
        DriftDetector(window=window, threshold=threshold, settles=False)
    assert caught.value.window == window


def test_a_run_that_still_learns_does_not_drift():
    # Means of neighbouring windows of 2: 0 1.5, .5 3, 1.5 4, 3 4, and from then on 4 4; four of these settle it.
    curve = [0, 0, 1, 2, 4, 4, 4, 4]
    assert [alert.step for alert in alerts_of(DriftDetector(2, 1.0, settles=False), curve)] == [3, 5]
    for quiet, expected in ((2, []), (3, [12])):
        shifted = curve + [4] * quiet + [2, 2]
        assert [alert.step for alert in alerts_of(DriftDetector(2, 1.0), shifted)] == expected


def test_agreement_by_chance_does_not_settle_what_still_learns():
    # Flat for a while, then up, then flat: only what comes after a long agreement is drift.
    curve = [0.0] * 5 + [1.0, 2.0, 3.0] + [3.0] * 20 + [5.0] * 4
    assert [alert.step for alert in alerts_of(DriftDetector(2, 1.0), curve)] == [29]


def test_what_has_settled_stays_so_in_a_checkpoint():
    first = DriftDetector(1, 0.5)
    alerts_of(first, [0.0, 1.0, 1.0])
    restored = [DriftDetector(1, 0.5) for _ in range(2)]
    restored[0].restore(first.state())
    alerts_of(first, [1.0])
    restored[1].restore(json.loads(json.dumps(first.state())))
    assert [len(alerts_of(detector, [0.0])) for detector in restored] == [0, 1]
    older = {"values": {"K": [1.0]}, "quiet": {"K": 0}}  # of a version that watched from the beginning
    restored[0].restore(older)
    assert len(alerts_of(restored[0], [0.0])) == 1
