"""Small networks and bytes for the tests of models and of what uses them."""

from __future__ import annotations

from typing import Any

import torch

from bitlm_core import preset_config
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_logits

T = 24
"""Bytes in a window."""


def a_model(architecture: str, **form: Any) -> LanguageModel:
    """A network whose zero-initialised parts were filled, so that nothing is hidden by zeros."""
    window = T if architecture == "byte" else T * 9
    attention = {} if "chunk_size" in form else {"attention": "full"}
    sizes = {"d_model": 32, "nhead": 2, "num_layers": 3, "max_seq_len": window}
    config = preset_config("tiny", architecture, **{**sizes, **attention, **form})  # type: ignore[arg-type]
    model = build_model(config, seed=3).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def some_bytes(rows: int = 2, length: int = T) -> torch.Tensor:
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(5))


def reads_as_the_full_pass(model: LanguageModel, data_BT: torch.Tensor, starts: tuple[int, ...]) -> None:
    """A decoder that has read so many bytes of the first row, and then reads on, predicts what the full pass does."""
    full, length = model.path_logits(data_BT), data_BT.shape[1]
    for start in starts:
        decoder = model.open_decoder(data_BT[0, :start])
        for index in range(start, length):
            step = path_logits(decoder.node_logits(), data_BT[0, index])
            torch.testing.assert_close(step, full[0, index], rtol=0, atol=1e-5)
            if index < length - 1:
                decoder.append(int(data_BT[0, index]))
        assert decoder.length == length - 1
