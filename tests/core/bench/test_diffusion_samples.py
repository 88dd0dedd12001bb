"""The three figures of samples, by hand, and one way of drawing compared with another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitlm_core import ConfigError, DiffusionSampling, Engine
from bitlm_core.bench.diffusion_samples import SampleFigures, byte_entropy, distinct_share, judged_bits, sample_figures
from tests.conftest import run


def rows_of(*texts: bytes) -> np.ndarray:
    return np.stack([np.frombuffer(text, np.uint8) for text in texts])


def test_entropy_and_distinct_windows_by_hand() -> None:
    assert byte_entropy(rows_of(b"aaaa", b"bbbb")) == 1.0
    assert byte_entropy(rows_of(b"aaab")) == pytest.approx(-0.75 * math.log2(0.75) + 0.5)
    assert distinct_share(rows_of(b"abcabc", b"xxxxxx"), 4) == (3 + 1) / 6
    assert distinct_share(rows_of(b"aaaaa", b"aaaaa"), 4) == 1 / 4


def test_bits_are_those_of_the_judge_without_the_first_byte(byte_engine: Engine, text: bytes) -> None:
    piece = np.frombuffer(text[:40], np.uint8)
    whole, first = (run(byte_engine.evaluate_steps(part)).bits_per_byte_network for part in (piece, piece[:1]))
    assert whole is not None and first is not None
    assert judged_bits(byte_engine.model, piece[None]) == pytest.approx((40 * whole - first) / 39, rel=1e-4)


def test_each_way_of_drawing_gets_its_figures_after_those_of_text(byte_engine: Engine, text: bytes) -> None:
    model = byte_engine.model
    assert model is not None
    ways = [DiffusionSampling(steps=4, order="confidence", temperature=0.5), DiffusionSampling(steps=2, method="flip")]
    told = list(sample_figures(model, model, text[60_000:70_000], ways, samples=3, num_bytes=24))
    shares = [share for share in told if isinstance(share, float)]
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    known, sure, flipped = (figures for figures in told if isinstance(figures, SampleFigures))
    assert (known.order, sure.order, flipped.order) == ("text", "confidence", "flip")
    assert (sure.steps, sure.temperature, flipped.steps) == (4, 0.5, 2)
    assert sure.bpb < flipped.bpb and sure.byte_entropy < flipped.byte_entropy  # 40 steps of learning know frequent bytes
    assert known.flat()["distinct_4grams"] == pytest.approx(distinct_share(rows_of(*pieces(text)), 4), abs=1e-4)
    with pytest.raises(ConfigError, match="less than a sample of 24"):
        next(sample_figures(model, model, b"short", ways, num_bytes=24))


def pieces(text: bytes) -> list[bytes]:
    return [text[60_000 + start :][:24] for start in (0, 4988, 9976)]
