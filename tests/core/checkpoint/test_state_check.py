"""A state that does not fit exactly is refused before any kernel or optimizer sees it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import Engine, MixingConfig, ModelStateError
from bitlm_core.checkpoint.packing import packed
from bitlm_core.mixing.tables import table_sizes


def first(tensors: dict[str, torch.Tensor], part: str) -> str:
    return next(name for name in tensors if part in name)


RUNS = table_sizes(MixingConfig(memory_mib=16))["runs"]
SPOILED = {
    "moment of another shape": ("exp_avg", lambda value: value.flatten()[:1].clone()),
    "moment of another dtype": ("exp_avg", lambda value: value.double()),
    "moment not finite": ("exp_avg", lambda value: torch.full_like(value, math.inf)),
    "negative square": ("/exp_avg_sq", lambda value: torch.full_like(value, -1.0)),
    "step of one dimension": ("/step", lambda value: value[None].clone()),
    "negative step": ("/step", lambda value: -value),
    "muon of another shape": ("/momentum_buffer", lambda value: value.mT.clone()[:1]),
    "weight of another shape": ("model.", lambda value: value[:1].clone()),
    "weight of another dtype": ("model.", lambda value: value.bfloat16()),
    "weight not finite": ("model.", lambda value: torch.full_like(value, math.nan)),
    "counts of another dtype": ("reference", lambda value: value.float()),
    "too few counts": ("reference", lambda value: value[:255].clone()),
    "negative counts": ("reference", lambda value: value - 1e9),
    "counts not finite": ("reference", lambda value: value * math.nan),
    "table of another dtype": ("mixer.runs", lambda value: value.long()),
    "table of another shape": ("mixer.slots", lambda value: value[:64].clone()),
    "table without dimensions": ("mixer.slots", lambda value: value[0].clone()),
    "table that is not packed": ("mixer.runs", lambda value: torch.zeros(4 << 20, dtype=torch.uint8)),
    "table of another kind": ("mixer.runs", lambda value: torch.from_numpy(packed(np.zeros(1000, np.int32)))),
    "table without end": ("mixer.runs", lambda value: torch.from_numpy(packed(np.zeros(32 << 20, np.uint8)))),
    "table of wrong values": ("mixer.runs", lambda value: torch.from_numpy(packed(np.full(RUNS, -1, np.int32)))),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_tensor_that_does_not_fit_is_refused(trained: Engine, kind: str) -> None:
    part, spoil = SPOILED[kind]
    tensors, header = trained.state()
    name = first(tensors, part)
    tensors[name] = spoil(tensors[name])
    with pytest.raises(ModelStateError, match=r"saved state|Mixer state"):
        Engine.from_state(tensors, header)


@pytest.mark.parametrize("name", ["other", "optimizer.other/step", "optimizer.noslash", "model.other", "mixer.other"])
def test_a_tensor_too_many_is_refused(trained: Engine, name: str) -> None:
    tensors, header = trained.state()
    with pytest.raises(ModelStateError, match="too many"):
        Engine.from_state({**tensors, name: torch.zeros(())}, header)


def test_moments_come_all_or_not_at_all(trained: Engine) -> None:
    tensors, header = trained.state()
    bare = {name: value for name, value in tensors.items() if not name.startswith("optimizer.")}
    assert not Engine.from_state(bare, header).trainer.state()
    name = first(tensors, "/step")
    with pytest.raises(ModelStateError, match="lacking"):
        Engine.from_state({**bare, name: tensors[name]}, header)


@pytest.mark.parametrize(
    "changed",
    [
        *({"step": value} for value in (-1, 2**40, True, "3", 1.0, None)),
        {"diffusion_steps": -1},
        *({"read_to": value} for value in ([], None, {"a": -1}, {"a": 2**40}, {"a": "1"}, {1: 1})),
        *({"opened": value} for value in ([], None, {"a": -1})),
        *({"at": value} for value in (["a"], ["a", "b"], 3)),
        *(
            {"drift": value}
            for value in (None, {}, {"values": {"k": [10**400]}, "quiet": {}}, {"values": {"k": 3}, "quiet": {}})
        ),
        *({"plan": value} for value in (7, {"steps": 0}, {"objective": "causal"}, {"steps": 5, "steps_done": 2**40})),
        *({"config": value} for value in (None, [], {"model": {"d_model": -1}})),
    ],
    ids=repr,
)
def test_a_header_that_does_not_fit_is_refused(trained: Engine, changed: dict[str, Any]) -> None:
    tensors, header = trained.state()
    with pytest.raises(ModelStateError, match="saved state"):
        Engine.from_state(tensors, {**header, **changed})
