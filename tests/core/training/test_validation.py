"""Looks at held-out data, and ending early when they show nothing new."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from bitlm_core import ByteData, ConfigError, Engine, EngineConfig, TrainingPlan, bytes_in_memory
from bitlm_core.learning import held_out_loss
from tests.conftest import run

Configs = Callable[..., EngineConfig]


def test_the_plan_by_hand() -> None:
    plan = TrainingPlan(steps=100, validate_every=2, patience=2)
    assert not plan.validates_next and plan.after_step(1.0).validates_next
    plan = plan.after_validation(3.0).after_validation(3.5)
    assert (plan.best_loss, plan.looks_since_best, plan.finished) == (3.0, 1, False)
    assert plan.after_validation(2.9).looks_since_best == 0
    plan = plan.after_validation(3.0)
    assert plan.stopped_early and plan.finished
    with pytest.raises(ValidationError, match="patience=3 counts looks"):
        TrainingPlan(steps=1, patience=3)


def test_looks_come_when_they_are_due_and_change_nothing(config_of: Configs, training_data: ByteData, text: bytes) -> None:
    held = bytes_in_memory(text[70_000:74_000])
    plan = TrainingPlan(steps=7, validate_every=3)
    looked, plain = Engine(config_of("byte", mixing=None)), Engine(config_of("byte", mixing=None))
    reports = list(looked.train_steps(training_data, plan, held))
    assert [report.step for report in reports if report.held_out_loss is not None] == [3, 6]
    losses = [report.loss for report in plain.train_steps(training_data, TrainingPlan(steps=7))]
    assert [report.loss for report in reports] == losses
    assert looked.plan is not None and looked.plan.best_loss == reports[5].held_out_loss


def test_the_held_out_loss_is_that_of_its_windows(trained: Engine, text: bytes) -> None:
    size = trained.config.model.max_bytes
    held = bytes_in_memory(text[70_000 : 70_000 + size])
    whole = run(trained.evaluate_steps(held.array)).bits_per_byte_network
    assert held_out_loss(trained.model, held) / math.log(2) == pytest.approx(whole, rel=1e-4)


def test_it_stops_when_held_out_data_is_learned_no_better(config_of: Configs, text: bytes) -> None:
    noise = bytes_in_memory(np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8).tobytes())
    engine = Engine(config_of("byte", mixing=None))
    plan = TrainingPlan(steps=200, validate_every=2, patience=3)
    reports = list(engine.train_steps(bytes_in_memory(text[:5000]), plan, noise))
    assert len(reports) < 60
    assert engine.plan is not None and engine.plan.stopped_early
    looks = [report.held_out_loss for report in reports if report.held_out_loss is not None]
    assert min(looks) == looks[-4] == engine.plan.best_loss


def test_without_held_out_data_nothing_begins(config_of: Configs, training_data: ByteData) -> None:
    engine = Engine(config_of("byte", mixing=None))
    with pytest.raises(ConfigError, match="held-out part"):
        next(engine.train_steps(training_data, TrainingPlan(steps=4, validate_every=2)))
    assert engine.step == 0
