"""Every rule, and data to cut."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from bitlm_core.layers.embedding import START
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel

ROWS = 1 << 12
RULES = {
    "entropy": PatchingConfig(),
    "monotonic": PatchingConfig(monotonic=True),
    "adaptive": PatchingConfig(adaptive=True, mean_patch_size=2),
    "adaptive, monotonic": PatchingConfig(adaptive=True, monotonic=True, mean_patch_size=3, reset_context=True),
    "lines": PatchingConfig(reset_context=True),
    "bounded": PatchingConfig(min_patch_size=3, max_patch_size=6),
    "space": PatchingConfig(scheme="space", max_patch_size=9),
    "long words": PatchingConfig(scheme="space", min_patch_size=4),
    "fixed": PatchingConfig(scheme="fixed", stride=5),
}
SYMBOLS = st.lists(
    st.one_of(st.integers(0, 255), st.sampled_from([START, *b"the of\n e, a"])),
    min_size=1,
    max_size=80,
)


def fitted(rule: str, text: bytes) -> EntropyModel:
    model = EntropyModel(RULES[rule], ROWS)
    model.fit(np.frombuffer(text[:20_000], np.uint8))
    return model


def row(symbols: list[int]) -> torch.Tensor:
    return torch.tensor([symbols])
