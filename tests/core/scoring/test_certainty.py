"""How sure predictions were and how often right: by hand, and as evaluation reports it."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import Engine, self_score_steps
from bitlm_core.scoring.certainty import Certainty
from bitlm_core.steps import finished


def test_it_is_the_sum_over_bits_whatever_the_windows() -> None:
    random = np.random.default_rng(3)
    logits, data = random.normal(0, 2, (40, 8)).astype(np.float32), random.integers(0, 256, 40).astype(np.uint8)
    ones = 1 / (1 + np.exp(-logits.astype(np.float64)))
    right = [[(p > 0.5) == bool(byte >> (7 - k) & 1) for k, p in enumerate(row)] for row, byte in zip(ones, data, strict=True)]
    by_parts, at_once = Certainty(), Certainty()
    at_once.add(logits, data)
    for begin, end in ((0, 7), (7, 30), (30, 40)):
        by_parts.add(logits[begin:end], data[begin:end])
    found = at_once.figures()
    assert found == pytest.approx(by_parts.figures())
    assert found["accuracy"] == np.mean(right) and found["byte_accuracy"] == np.mean([all(row) for row in right])
    sure = np.maximum(ones, 1 - ones)
    assert found["confidence_mean"] == pytest.approx(sure.mean())
    assert (found["confidence_min"], found["confidence_max"]) == pytest.approx((sure.min(), sure.max()))


def test_a_bit_that_is_open_is_told_as_0_and_nothing_is_nothing() -> None:
    certainty = Certainty()
    assert certainty.figures() == {}
    certainty.add(np.zeros((0, 8), np.float32), np.zeros(0, np.uint8))
    assert certainty.figures() == {}
    certainty.add(np.zeros((2, 8), np.float32), np.array([0, 255], np.uint8))
    assert certainty.figures() == {
        "accuracy": 0.5,
        "byte_accuracy": 0.5,
        "confidence_mean": 0.5,
        "confidence_min": 0.5,
        "confidence_max": 0.5,
    }


def test_evaluation_reports_it_of_what_it_counts_as_bits_per_byte(trained: Engine, text: bytes) -> None:
    found = finished(trained.evaluate_steps(np.frombuffer(text[90_000:92_000], np.uint8)))
    assert found.perplexity == pytest.approx(2**found.bits_per_byte)
    assert found.accuracy is not None and found.byte_accuracy is not None and found.confidence_mean is not None
    assert found.confidence_min is not None and found.confidence_max is not None
    assert 0.1 < found.byte_accuracy < found.accuracy < 1
    assert 0.5 <= found.confidence_min < found.confidence_mean < found.confidence_max <= 1
    assert abs(found.confidence_mean - found.accuracy) < 0.1  # a model that learned is about as sure as it is right


def test_data_scored_by_itself_has_it_too() -> None:
    data = np.frombuffer(b"again and again, " * 40, np.uint8)
    found = finished(self_score_steps(data, np.array([[0, len(data)]]))).likelihood
    assert found.byte_accuracy is not None and found.byte_accuracy > 0.9 and found.perplexity < 2
