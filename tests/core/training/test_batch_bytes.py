"""Batches that are given in bytes: how many windows follow, and that nothing else is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    check_training,
    estimate_engine_bytes,
)


@pytest.mark.parametrize(("window", "windows"), [(None, 8), (64, 8), (32, 16), (7, 73), (500, 8), (2, 256)])
def test_windows_follow_from_their_length(
    config_of: Callable[..., EngineConfig], training_data: ByteData, window: int | None, windows: int
) -> None:
    training = TrainingConfig(batch_bytes=512, window_bytes=window, warmup_steps=5)
    report = next(Engine(config_of("byte", mixing=None, training=training)).train_steps(training_data, TrainingPlan(steps=1)))
    assert report.num_bytes == windows * min(window or 64, 64)
    assert abs(report.num_bytes - 512) <= min(window or 64, 64) / 2


def test_a_step_has_a_window_at_least_and_not_more_than_may_be(config_of: Callable[..., EngineConfig]) -> None:
    few, many = TrainingConfig(batch_bytes=2), TrainingConfig(batch_bytes=1 << 26)
    assert few.num_windows(64) == 1 and many.num_windows(2) == 4096
    assert TrainingConfig(batch_size=3).num_windows(1000) == 3
    short = bytes_in_memory(b"0123456789")  # a window is never longer than the data
    report = next(
        Engine(config_of("byte", mixing=None, training=TrainingConfig(batch_bytes=100))).train_steps(
            short, TrainingPlan(steps=1)
        )
    )
    assert report.num_bytes == 100


def test_it_learns_what_as_many_windows_learn(config_of: Callable[..., EngineConfig], training_data: ByteData) -> None:
    def losses(**batch: Any) -> list[float]:
        engine = Engine(config_of("byte", mixing=None, training=TrainingConfig(**batch, warmup_steps=5)))
        return [report.loss for report in engine.train_steps(training_data, TrainingPlan(steps=3))]

    assert losses(batch_bytes=4 * 64) == losses(batch_size=4) != losses(batch_size=5)


def test_memory_is_estimated_for_it(config_of: Callable[..., EngineConfig]) -> None:
    few, many = (config_of("byte", training=TrainingConfig(batch_bytes=size)) for size in (64 * 8, 64 * 800))
    assert estimate_engine_bytes(few) == estimate_engine_bytes(config_of("byte", training=TrainingConfig(batch_size=8)))
    assert estimate_engine_bytes(many) > 10 * estimate_engine_bytes(few) / 8


def test_what_is_written_down_can_be_read_again() -> None:
    for training in (TrainingConfig(batch_bytes=4096), TrainingConfig(batch_size=5), TrainingConfig()):
        assert TrainingConfig.model_validate(training.model_dump(mode="json")) == training
        assert TrainingConfig.model_validate_json(training.model_dump_json()).num_windows(64) == training.num_windows(64)
    assert "batch_bytes" not in TrainingConfig().model_dump() and "batch_size" not in TrainingConfig(batch_bytes=9).model_dump()


def test_two_sizes_are_refused_and_too_small_ones_for_mixed_training(config_of: Callable[..., EngineConfig]) -> None:
    with pytest.raises(ValidationError, match="batch_bytes=512 and batch_size=8 both say"):
        TrainingConfig(batch_bytes=512, batch_size=8)
    mixed = TrainingPlan(steps=1, objective="mixed")
    with pytest.raises(ConfigError, match="batch_size=1 with accumulation=1"):
        check_training(config_of("byte").model, TrainingConfig(batch_bytes=64), mixed)
    check_training(config_of("byte").model, TrainingConfig(batch_bytes=128), mixed)
