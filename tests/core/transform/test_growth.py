"""Growth: what the network knows stays, to rounding; it learns on as before; and the engine it grew from is untouched."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlm_core import (
    ByteData,
    Engine,
    EngineConfig,
    Growth,
    MixingConfig,
    TrainingConfig,
    TrainingPlan,
    grow,
    grown_config,
    preset_config,
)

STEPS: tuple[Growth, ...] = get_args(Growth)
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("byte", {"attention": "full", "use_checkpoint": True}),
    ("byte", {"chunk_size": 8, "overlap": 4, "position": "sinusoidal", "diffusion": "shared"}),
    ("byte", {"attention": "differential", "use_act": True, "reversible": True, "ngram_rows": 0}),
    ("bit", {"diffusion": "own", "position": "sinusoidal", "dropout": 0.1}),
    ("bit", {"chunk_size": 32, "use_act": True, "act_threshold": 0.6}),
    ("patch", {"diffusion": "own", "position": "sinusoidal", "attention": "differential"}),
    ("patch", {"memory_span": 2, "use_act": True, "slots": 3, "ngram_orders": (3, 5)}),
]


def an_engine(architecture: str, *, mixing: MixingConfig | None = None, **form: Any) -> Engine:
    """One whose zero-initialised parts were filled, so that nothing is hidden by zeros."""
    sizes: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 2, "max_seq_len": 216 if architecture == "bit" else 24}
    if architecture == "patch":
        sizes |= {"local_width": 24, "local_heads": 2}
    if architecture != "bit":
        sizes["ngram_rows"] = 64
    model = preset_config("tiny", architecture, **{**sizes, **form})  # type: ignore[arg-type]
    training = TrainingConfig(batch_size=4, telemetry_every=100, use_autocast=False, max_grad_norm=1e6)
    engine = Engine(EngineConfig(model=model, training=training, mixing=mixing, seed=2))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return engine


def trained(engine: Engine, data: ByteData, steps: int = 3, **plan: Any) -> Engine:
    for _ in engine.train_steps(data, TrainingPlan(steps=steps, **plan)):
        pass
    return engine


@torch.no_grad()
def answers(engine: Engine, window: Tensor) -> list[Tensor]:
    """Causal, as distributions and masked: all logits that a network has."""
    found = [engine.model.path_logits(window), engine.model.predicted_nodes(window[:1], start_bytes=20)]
    if engine.config.model.architecture != "patch" or engine.config.model.diffusion:
        known = torch.full_like(window, 255)
        known[:, 5], known[:, 7] = 0, 0b1110_0000
        found.append(engine.model.predict_masked(window, known).nodes)
    return found


@pytest.fixture(scope="module")
def window(text: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(text[5000:5048], np.uint8).astype(np.int64)).view(2, 24)


def same(one: Engine, other: Engine) -> bool:
    (tensors, header), (others, told) = one.state(), other.state()
    return header == told and tensors.keys() == others.keys() and all(torch.equal(tensors[n], others[n]) for n in tensors)


@pytest.mark.parametrize(("architecture", "form"), FORMS)
def test_logits_stay_through_every_growth(architecture: str, form: dict[str, Any], window: Tensor) -> None:
    engine = an_engine(architecture, **form)
    before, state = answers(engine, window), {n: v.clone() for n, v in engine.state()[0].items()}
    for step in STEPS:
        grown = grow(engine, step, seed=7)
        for one, other in zip(before, answers(grown, window), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=1e-5)
        assert sum(p.numel() for p in grown.model.parameters()) == grown.num_parameters
    assert all(torch.equal(value, state[name]) for name, value in engine.state()[0].items())
    for step in (*STEPS, "width"):  # all of them, one after the other
        engine = grow(engine, step, seed=8)
    for one, other in zip(before, answers(engine, window), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


def test_sizes_grow_as_told() -> None:
    config = an_engine("patch", position="sinusoidal").config
    assert grown_config(config, "layer").model.num_layers == 3
    assert grown_config(config, "context").model.max_seq_len == 48
    wide = grown_config(config, "width").model
    assert (wide.d_model, wide.nhead, wide.dim_feedforward, wide.sinusoid_copies) == (32, 4, 128, 2)
    assert (wide.patch.local_width, wide.patch.local_heads) == (48, 4)
    assert wide.num_layers == config.model.num_layers
