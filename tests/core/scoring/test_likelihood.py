"""Bits per byte: the sum by hand, the protocols, and what scoring must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, Engine
from bitlm_core.models.output import path_nats
from bitlm_core.scoring.likelihood import total_nats
from tests.conftest import run


def test_the_sum_is_that_of_the_bits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 8)).astype(np.float32)
    data = np.random.default_rng(1).integers(0, 256, 50).astype(np.uint8)
    twin = path_nats(torch.from_numpy(logits).double(), torch.from_numpy(data.astype(np.int64))).sum()
    assert total_nats(logits, data) == pytest.approx(float(twin), rel=1e-9)


def test_an_untrained_model_needs_eight_bits(config_of, text: bytes) -> None:  # type: ignore[no-untyped-def]
    found = run(Engine(config_of("byte")).evaluate_steps(np.frombuffer(text[:500], np.uint8)))
    assert found.bits_per_byte_network == pytest.approx(8.0)
    assert found.num_bytes == 500
    assert found.num_windows == 15  # 64 bytes at first, then 32 each


def test_scoring_is_repeatable_and_changes_nothing(trained: Engine, text: bytes) -> None:
    data = np.frombuffer(text[90_000:92_000], np.uint8)
    before = {name: value.clone() for name, value in trained.state()[0].items()}
    first, second = run(trained.evaluate_steps(data)), run(trained.evaluate_steps(data))
    assert first == second
    after = trained.state()[0]
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_learning_while_reading_beats_standing_still(trained: Engine, text: bytes) -> None:
    found = run(trained.evaluate_steps(np.frombuffer(text[90_000:96_000], np.uint8)))
    assert found.bits_per_byte < found.bits_per_byte_static < found.bits_per_byte_network < 8


def test_progress_ends_at_one(trained: Engine, text: bytes) -> None:
    shares = list(trained.evaluate_steps(np.frombuffer(text[:300], np.uint8)))
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_nothing_to_score_is_refused(trained: Engine) -> None:
    with pytest.raises(ConfigError, match="0 bytes"):
        run(trained.evaluate_steps(np.zeros(0, np.uint8)))
