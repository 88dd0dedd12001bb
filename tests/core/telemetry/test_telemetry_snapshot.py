"""Telemetry of a model: what a step measures is what its own pass computed, and what the settings make of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, Engine, EngineConfig, TrainingPlan
from bitlm_core.layers.halting import SAMPLED_BYTES, Trace
from bitlm_core.models.output import byte_log_probs
from bitlm_core.telemetry import composite_score, symbiosis, symbiosis_kl, transition_rate
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.snapshot import (
    attention_entropy,
    mean_byte_distribution,
    mean_of_nodes,
    measure_predictions,
    symbiosis_with_teacher,
)

LOGITS = np.array([[3.0, -1.0, 0.5, 2.0, -4.0, 1.0, -1.0, 0.0]] * 20, np.float32)


def test_all_of_it_is_made_of_the_metrics() -> None:
    mean, reference = np.arange(256) / np.arange(256).sum(), np.ones(256)
    found = measure_predictions(LOGITS, mean, reference, TelemetryConfig(lambda_k=1, lambda_c=2, lambda_s=0))
    bits = (LOGITS > 0).ravel().astype(np.uint8)
    assert found.transition_rate == transition_rate(bits)
    assert found.s == symbiosis(mean, reference) and found.symbiosis_kl == symbiosis_kl(20 * mean, reference)
    assert found.composite == composite_score(found.k, found.c, found.s, (1, 2, 0))


def test_rows_are_measured_apart() -> None:
    rows = np.stack([LOGITS, -np.roll(LOGITS, 3)])
    together = measure_predictions(rows, np.ones(256), np.ones(256))
    each = [measure_predictions(row, np.ones(256), np.ones(256)) for row in rows]
    for name in ("k", "c", "transition_rate"):
        assert getattr(together, name) == pytest.approx(np.mean([getattr(one, name) for one in each]))


def test_the_legacy_profile_watches_the_transition_rate_in_the_place_of_c() -> None:
    settings = TelemetryConfig(profile="legacy", lambda_k=0, lambda_s=0)
    found = measure_predictions(LOGITS, np.ones(256), np.ones(256), settings)
    assert found.composite == found.transition_rate != found.c
    assert list(found.watched(settings)) == ["k", "transition_rate", "s"]
    assert list(found.watched(TelemetryConfig())) == ["k", "c", "s"]


def test_nothing_weighed_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TelemetryConfig(lambda_k=0, lambda_c=0, lambda_s=0)
    assert caught.value.lambdas == (0, 0, 0)


@pytest.mark.parametrize("length", [5, SAMPLED_BYTES, SAMPLED_BYTES + 1, 1000])
def test_of_many_bytes_some_are_sampled(length: int) -> None:
    trace, nodes = Trace(), torch.arange(2 * length * 256.0).view(2, length, 256)
    trace.sample_nodes(nodes)
    assert trace.nodes is not None and 1 <= len(trace.nodes) <= SAMPLED_BYTES
    assert len(trace.nodes) >= min(2 * length, SAMPLED_BYTES // 2)
    places = ((trace.nodes[:, 0] / 256).long()).tolist()
    assert places == sorted(set(places)) and places[0] < length <= places[-1]  # of both rows


def test_a_step_needs_no_pass_of_its_own_for_s(byte_engine: Engine, text: bytes) -> None:
    model, window = byte_engine.model, np.frombuffer(text[:SAMPLED_BYTES], np.uint8)
    assert model is not None
    trace = Trace()
    with torch.no_grad():
        model.path_logits(torch.from_numpy(window.astype(np.int64))[None], trace=trace)
    assert trace.nodes is not None
    np.testing.assert_allclose(mean_of_nodes(trace.nodes), mean_byte_distribution(model, window), rtol=1e-5, atol=1e-7)


def test_a_model_that_is_its_own_teacher_is_aligned(byte_engine: Engine, text: bytes) -> None:
    model, window = byte_engine.model, np.frombuffer(text[:50], np.uint8)
    assert model is not None
    assert symbiosis_with_teacher(model, model, window) == pytest.approx(1, abs=1e-9)
    other = Engine(byte_engine.config.model_copy(update={"seed": 9})).model
    assert other is not None
    nodes = [each.predicted_nodes(torch.from_numpy(window.astype(np.int64))[None]) for each in (model, other)]
    by_hand = [byte_log_probs(each[0].detach()).double().exp().numpy() for each in nodes]
    expected = np.mean([symbiosis(q, r) for q, r in zip(*by_hand, strict=True)])
    assert symbiosis_with_teacher(model, other, window) == pytest.approx(expected, abs=1e-9) != 1


def test_attention_entropy_is_in_its_range(byte_engine: Engine, text: bytes) -> None:
    assert byte_engine.model is not None
    data = torch.tensor([list(text[:64])])
    assert 0 < attention_entropy(byte_engine.model, data) < math.log(64)


def test_intervals_are_those_of_the_settings(config_of, training_data) -> None:
    base: EngineConfig = config_of("byte", mixing=None)
    training = base.training.model_copy(update={"telemetry_every": None, "batch_size": 2})
    settings = TelemetryConfig(telemetry_every=2, attention_every=3)
    engine = Engine(base.model_copy(update={"training": training, "telemetry": settings}))
    reports = list(engine.train_steps(training_data, TrainingPlan(steps=6)))
    assert [report.step for report in reports if report.telemetry] == [2, 4, 6]
    assert [report.step for report in reports if report.attention_entropy is not None] == [3, 6]
    engine.set_telemetry(TelemetryConfig(telemetry_every=1, attention_every=0))
    reports = list(engine.train_steps(training_data, TrainingPlan(steps=2)))
    assert all(report.telemetry for report in reports) and all(report.attention_entropy is None for report in reports)


def test_looking_at_attention_changes_no_training(config_of, training_data) -> None:
    losses = []
    for every in (0, 1):
        engine = Engine(config_of("byte", mixing=None, telemetry=TelemetryConfig(attention_every=every)))
        losses.append([report.loss for report in engine.train_steps(training_data, TrainingPlan(steps=3))])
    assert losses[0] == losses[1]


def test_drift_halts_where_that_is_asked_for_and_settings_survive(config_of, training_data) -> None:
    settings = TelemetryConfig(telemetry_every=1, attention_every=0, drift_window=1, drift_threshold=0.0, halt_on_drift=True)
    engine = Engine(config_of("byte", mixing=None, telemetry=settings, training={"batch_size": 2}))
    engine.drift.restore({"values": {"k": [0.9]}, "quiet": {}})  # as if it had settled there
    reports = list(engine.train_steps(training_data, TrainingPlan(steps=9)))
    assert [bool(report.alerts) for report in reports] == [True]
    assert engine.plan is not None and engine.plan.drifted and engine.plan.finished and engine.step == 1
    again = Engine.from_state(*engine.state())
    assert again.config.telemetry == settings and again.drift.state() == engine.drift.state()
    assert (again.drift.window, again.drift.threshold) == (1, 0.0)
    again.set_telemetry(settings.model_copy(update={"halt_on_drift": False}))
    assert len(list(again.train_steps(training_data, TrainingPlan(steps=4)))) == 4
