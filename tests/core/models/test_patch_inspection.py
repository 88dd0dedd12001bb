"""Data cut as a given network cuts it: the same places, and none where there is nothing that says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, ModelStateError, inspect_model_patches, preset_config
from bitlm_core.layers.embedding import START
from bitlm_core.models.build import build_model
from bitlm_core.models.patch_lm import PatchLM

DATA = np.frombuffer(b"the quick brown fox jumps over the lazy dog. " * 20, np.uint8)


def a_model(**patching: object) -> PatchLM:
    sizes = {"d_model": 32, "nhead": 1, "local_width": 16, "local_heads": 1, "ngram_rows": 0, "max_seq_len": 128}
    model = build_model(preset_config("tiny", "patch", **sizes, **patching), seed=1)
    assert isinstance(model, PatchLM)
    return model


@pytest.mark.parametrize("patching", [{"mean_patch_size": 3}, {"monotonic": True}, {"patching": "space"}])
def test_the_cuts_are_those_of_the_network(patching: dict[str, object]) -> None:
    model, data = a_model(**patching), DATA[7:127]
    model.prepare(DATA)
    found = inspect_model_patches(model, data)
    inputs = torch.cat([torch.tensor([START]), torch.from_numpy(data.astype(np.int64))])[None]
    assert np.array_equal(model.cut(inputs).starts[0].numpy(), found.starts)
    assert found.starts.sum() > 5 and found.entropies.min() < 8  # not those of a model that knows nothing
    assert (found.theta == model.entropy.threshold) if found.config.reads_entropies else found.theta is None


def test_what_cuts_no_patches_is_refused() -> None:
    byte = build_model(preset_config("tiny", "byte", d_model=32, nhead=1, ngram_rows=0), seed=1)
    with pytest.raises(ConfigError, match="architecture='byte' cuts no patches"):
        inspect_model_patches(byte, DATA)
    with pytest.raises(ConfigError, match="architecture='mix' cuts no patches"):
        inspect_model_patches(None, DATA)
    with pytest.raises(ModelStateError, match="train it first"):
        inspect_model_patches(a_model(), DATA)
