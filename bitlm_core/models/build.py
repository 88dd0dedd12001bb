"""From a config to a network, without touching the global random state."""

from __future__ import annotations

import torch

from bitlm_core.models.bit_lm import BitLM
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.config import ModelConfig, of_masked_network
from bitlm_core.models.grid import put_on_grid
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.patch_lm import PatchLM

_ARCHITECTURES: dict[str, type[ByteLM] | type[BitLM] | type[PatchLM]] = {"byte": ByteLM, "bit": BitLM, "patch": PatchLM}


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """A fresh network whose weights are a function of `config` and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _ARCHITECTURES[config.architecture](config)
        if config.diffusion == "own":
            of_masks = of_masked_network(config)
            model.masked_network = _ARCHITECTURES[of_masks.architecture](of_masks)
        model.set_dropout(config.dropout or 0.0)
    if config.quantized:
        put_on_grid(model, config.quantized)
    return model
