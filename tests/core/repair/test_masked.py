"""Candidates from masked diffusion: what is hidden is not looked at, and everything else is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlm_core.repair.masked import masked_log_probs
from tests.core.models.networks import a_model

DATA = np.random.default_rng(0).integers(0, 256, 60, dtype=np.uint8)


@pytest.mark.parametrize("architecture", ["byte", "bit"])
def test_what_stands_at_the_places_changes_nothing_and_what_stands_beside_them_does(architecture: str) -> None:
    model, places = a_model(architecture), np.array([20, 22])
    found = masked_log_probs(model, DATA, places)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    same, other = DATA.copy(), DATA.copy()
    same[places] ^= 0x5A
    other[21] ^= 0x5A
    assert np.array_equal(masked_log_probs(model, same, places), found)
    with torch.no_grad():
        assert not np.array_equal(masked_log_probs(model, other, places), found)


def test_places_beyond_the_window_have_no_preference() -> None:
    model = a_model("byte")
    places = np.array([0, model.config.max_bytes + 30])
    data = np.resize(DATA, 2 * model.config.max_bytes + 60)
    found = masked_log_probs(model, data, places)
    assert (found == -np.log(256)).all(axis=1).any()
    assert masked_log_probs(model, data[:10], np.array([9])).shape == (1, 256)
