"""Data cut into patches as a given network cuts it. N bytes, D documents."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.layers.embedding import START
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.patch_lm import PatchLM
from bitlm_core.patching.inspection import PatchInspection, inspect_patches


def inspect_model_patches(model: LanguageModel | None, data: NDArray[np.uint8]) -> PatchInspection:
    """Cut bytes [N] by the rules of a byte-latent network and the entropies that it was fitted with, as one document.

    The network itself reads what is longer than its window in windows, and a window begins with a patch of its own: there its
    cuts stand elsewhere until they meet those of the whole again. Rules that read no entropies have none fitted: those that
    are told with them come from the data.
    Raises ConfigError for other architectures and as `inspect_patches`; ModelStateError before the first training.
    """
    if not isinstance(model, PatchLM):
        named = "mix" if model is None else model.config.architecture
        raise ConfigError(
            f"architecture={named!r} cuts no patches: name a model with architecture='patch', or none, and the data's own "
            "entropies cut it"
        )
    patching = model.sizes.patching
    if patching.reads_entropies and not model.entropy.fitted:
        raise ModelStateError(
            "the model was not trained yet, and its first training fits the entropies that its patches follow: train it first"
        )
    return inspect_patches(data, patching, model.entropy if patching.reads_entropies else None)


def model_patch_starts(
    model: LanguageModel | None, data: NDArray[np.uint8], begins: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Bytes [N] of documents that begin at `begins` [D], the first at 0 → [N] True where a patch starts, each document cut as
    by `inspect_model_patches`; None where the network cuts none, or none yet."""
    if not isinstance(model, PatchLM) or (model.sizes.patching.reads_entropies and not model.entropy.fitted):
        return None
    symbols = torch.from_numpy(np.insert(data.astype(np.int64), begins, START))[None]
    starts: NDArray[np.bool_] = model.cut_starts(symbols)[symbols != START].numpy()
    return starts
