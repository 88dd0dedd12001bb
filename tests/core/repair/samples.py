"""Data in which what is damaged can be told, and running steps to their end."""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.presets import preset_config

SMALL = MixingConfig(memory_mib=8, history_bytes=1 << 14)
LINES = b"".join(b"%d bottles of beer on the wall, take one down and pass it around\n" % (7 * i % 100) for i in range(40))


def lines() -> NDArray[np.uint8]:
    return np.frombuffer(LINES, np.uint8).copy()


@lru_cache(maxsize=1)
def learned() -> ContextMixer:
    """A mixer that knows such lines; not to be changed."""
    mixer = ContextMixer(SMALL)
    mixer.read(lines())
    return mixer


def network(max_seq_len: int) -> LanguageModel:
    """A network that has learned nothing, but whose predictions depend on all that it sees."""
    model = build_model(preset_config("tiny", d_model=32, nhead=1, num_layers=1, max_seq_len=max_seq_len), 3).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def run(steps: Generator[float, None, Any]) -> Any:
    """What the steps return; the shares that they yield ascend to 1."""
    before = 0.0
    while True:
        try:
            share = next(steps)
        except StopIteration as ended:
            return ended.value
        assert before <= share <= 1
        before = share
