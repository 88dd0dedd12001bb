"""Probing tells what a mixer predicts, and leaves it as reading would have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlm_core import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.probe import PROBE_BYTES, read_probed
from bitlm_core.models.output import byte_log_probs


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("size", [1, 5, PROBE_BYTES + 50])
def test_the_mean_is_that_of_what_was_predicted_byte_by_byte(text: bytes, learn: bool, size: int) -> None:
    data = np.frombuffer(text[1000 : 1000 + size], np.uint8)
    mixer = ContextMixer(MixingConfig(memory_mib=8))
    mixer.read(np.frombuffer(text[:1000], np.uint8))
    twin, whole = mixer.copy(), mixer.copy()
    logits, mean = read_probed(mixer, data, learn=learn)
    assert np.array_equal(logits, whole.read(data, learn=learn))
    assert all(np.array_equal(value, whole.own_arrays[name]) for name, value in mixer.own_arrays.items())
    expected = np.zeros(256)
    for place in range(size):
        if place >= size - PROBE_BYTES:
            expected += byte_log_probs(torch.from_numpy(twin.node_logits())).double().exp().numpy()
        twin.read(data[place : place + 1], learn=learn)
    assert mean == pytest.approx(expected / min(size, PROBE_BYTES), abs=1e-6)
    assert mean.sum() == pytest.approx(1)
