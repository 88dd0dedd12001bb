"""Reading byte by byte gives what bulk scoring gives, over streams longer than a window."""

from __future__ import annotations

import numpy as np
import torch

from bitlm_core import Engine
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.output import path_logits


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
