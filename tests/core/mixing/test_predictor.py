"""Reading byte by byte gives what bulk scoring gives, over streams longer than a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, Engine
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.output import path_logits
from tests.conftest import run


def stepwise(predictor: Predictor, data: bytes) -> np.ndarray:
    logits = []
    for byte in data:
        logits.append(path_logits(torch.from_numpy(predictor.node_logits()), torch.tensor(byte)).numpy())
        predictor.advance(byte)
    return np.stack(logits)


def in_bulk(engine: Engine, data: bytes, learn: bool) -> np.ndarray:
    array = np.frombuffer(data, np.uint8)
    windows = half_overlapping(len(data), engine.config.model.max_bytes)
    expert = np.concatenate([logits for _, logits in expert_path_logits(engine.model, array, windows)])
    assert engine.mixer is not None
    mixer = engine.mixer.copy()
    mixer.start_document()
    return mixer.read(array, expert, learn=learn)


def test_static_and_adaptive_reading_match_bulk_scoring(trained: Engine, text: bytes) -> None:
    data = text[70_000 : 70_000 + 5 * trained.config.model.max_bytes // 2 + 3]
    for adaptive in (False, True):
        step = stepwise(Predictor(trained.model, trained.mixer, adaptive=adaptive), data)
        # Expert logits enter in steps of 1/256 nat, so rounding may move one by that much.
        assert np.abs(step - in_bulk(trained, data, adaptive)).max() < 0.05


def test_reading_at_once_equals_reading_byte_by_byte(trained: Engine, text: bytes) -> None:
    data = text[80_000 : 80_000 + 3 * trained.config.model.max_bytes]
    at_once = Predictor(trained.model, trained.mixer, adaptive=False)
    at_once.read(data)
    one_by_one = Predictor(trained.model, trained.mixer, adaptive=False)
    for byte in data:
        one_by_one.advance(byte)
    assert np.abs(at_once.node_logits() - one_by_one.node_logits()).max() < 0.02


def test_a_predictor_leaves_the_mixer_it_was_given_alone(trained: Engine, text: bytes) -> None:
    assert trained.mixer is not None
    before = {name: value.copy() for name, value in trained.mixer.state_arrays().items()}
    predictor = Predictor(trained.model, trained.mixer, adaptive=True)
    predictor.read(text[:100])
    after = trained.mixer.state_arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_it_says_what_runs_the_network(trained: Engine) -> None:
    predictor = Predictor(trained.model, trained.mixer, adaptive=False)
    assert predictor.engine == ("fused" if trained.config.model.architecture == "byte" else "torch")
    forced = Predictor(trained.model, None, adaptive=False, running="torch")
    forced.read(b"The ")
    expected = Predictor(trained.model, None, adaptive=False)
    expected.read(b"The ")
    assert forced.engine == "torch"
    np.testing.assert_allclose(forced.node_logits(), expected.node_logits(), rtol=0, atol=1e-4)


def test_ways_that_cannot_run_a_model_are_refused(trained: Engine) -> None:
    if trained.config.model.architecture == "bit":
        with pytest.raises(ConfigError, match="architecture='bit'"):
            Predictor(trained.model, None, adaptive=False, running="fused")
        with pytest.raises(ConfigError, match="weights='int8' needs the compiled kernels"):
            Predictor(trained.model, None, adaptive=False, weights="int8")
    else:
        Predictor(trained.model, None, adaptive=False, weights="int8", running="fused")


def test_a_mixer_may_be_alone(trained: Engine, text: bytes) -> None:
    alone = Predictor(None, trained.mixer, adaptive=True)
    alone.read(text[:300])
    alone.advance(65)
    assert alone.engine == "none" and trained.mixer is not None
    mixer = trained.mixer.copy()
    mixer.start_document()
    mixer.read(np.frombuffer(text[:300] + b"A", np.uint8))
    assert np.array_equal(alone.node_logits(), mixer.node_logits())


def coded(opened: Callable[[], Predictor], data: bytes) -> bytes:
    """The code of the data, which is decoded again, in other pieces."""
    array, encoder, predictor = np.frombuffer(data, np.uint8), ByteEncoder(), opened()
    predictor.encode(encoder, array[:100])
    predictor.encode(encoder, array[100:])
    code = encoder.finish()
    decoder, predictor, out = ByteDecoder(np.frombuffer(code, np.uint8)), opened(), np.zeros(len(data), np.uint8)
    for start in range(0, len(data), 37):
        predictor.decode(decoder, out[start : start + 37])
    assert out.tobytes() == data
    return code


@pytest.mark.parametrize(("mixing", "adaptive"), [(True, True), (True, False), (False, True)])
def test_coding_is_lossless_and_as_small_as_evaluated(byte_engine: Engine, text: bytes, mixing: bool, adaptive: bool) -> None:
    data = text[200_000:201_500]
    mixer = byte_engine.mixer if mixing else None
    code = coded(lambda: Predictor(byte_engine.model, mixer, adaptive=adaptive), data)
    found = run(byte_engine.evaluate_steps(np.frombuffer(data, np.uint8)))
    claimed = found.bits_per_byte if adaptive else found.bits_per_byte_static
    assert 8 * len(code) / len(data) == pytest.approx(claimed if mixing else found.bits_per_byte_network, rel=0.005)


@pytest.mark.parametrize(
    "settings",
    [{"weights": "int8"}, {"carried": True}, {"weights": "int8", "carried": True}, {"running": "torch"}],
    ids=str,
)
def test_every_setting_is_lossless(byte_engine: Engine, text: bytes, settings: dict[str, Any]) -> None:
    model, given = byte_engine.model, dict(settings)
    assert model is not None
    if given.pop("carried", False):
        given["locality"] = model.carrying(32, 16)
    code = coded(lambda: Predictor(model, byte_engine.mixer, adaptive=True, **given), text[210_000:210_250])
    assert len(code) < 150


def test_a_mixer_alone_codes_too_and_nothing_is_nothing(byte_engine: Engine, text: bytes) -> None:
    assert len(coded(lambda: Predictor(None, byte_engine.mixer, adaptive=False), text[210_000:210_250])) < 150
    assert coded(lambda: Predictor(byte_engine.model, None, adaptive=True), b"") == b""
