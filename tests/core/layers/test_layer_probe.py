"""The look at attention: the sampled rows are those of the whole map, in every form of attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bitlm_core.layers.halting import Trace
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.probe import Probe, Seen
from bitlm_core.models.build import build_model
from bitlm_core.models.presets import preset_config


def whole_map_entropy(q: torch.Tensor, k: torch.Tensor, seen: list[list[bool]], queries: list[int]) -> float:
    """By the definition, one number at a time."""
    total, rows = 0.0, 0
    for head in range(q.shape[1]):
        for t in queries:
            scores = [float(q[0, head, t] @ k[0, head, s]) / math.sqrt(q.shape[-1]) for s in range(k.shape[2]) if seen[t][s]]
            weights = [math.exp(score - max(scores)) for score in scores]
            shares = [weight / sum(weights) for weight in weights]
            total += -sum(share * math.log(share) for share in shares)
            rows += 1
    return total / rows


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("locality", [None, Locality(4, 2)])
@pytest.mark.parametrize("documents", [None, [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]])
def test_sampled_rows_are_those_of_the_map(causal: bool, locality: Locality | None, documents: list[int] | None) -> None:
    torch.manual_seed(3)
    T = 11
    q, k = torch.randn(1, 2, T, 8), torch.randn(1, 2, T, 8)
    numbers = None if documents is None else torch.tensor([documents])
    probe = Probe(num_queries=4)
    probe.note(torch.randn(1, T, 16), q, k, Seen(causal, 0, locality, None, numbers))
    seen = [
        [
            (s <= t or not causal)
            and (locality is None or t // 4 * 4 - 2 <= s < t // 4 * 4 + 6)
            and (documents is None or documents[s] == documents[t])
            for s in range(T)
        ]
        for t in range(T)
    ]
    assert float(probe.entropy[0]) == pytest.approx(whole_map_entropy(q, k, seen, [0, 3, 7, 10]), abs=1e-5)


def test_its_ends_are_0_and_ln_t() -> None:
    probe, T = Probe(num_queries=3), 8
    q = torch.zeros(1, 1, T, 4)
    probe.note(torch.ones(1, T, 4), q, q, Seen(False, 0, None, None, None))
    sharp = 100 * torch.eye(T)[None, None]
    probe.note(torch.ones(1, T, 4), sharp, sharp, Seen(False, 0, None, None, None))
    assert [float(layer) for layer in probe.entropy] == [pytest.approx(math.log(T)), pytest.approx(0)]


def test_activations_are_those_of_each_sequence() -> None:
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]])
    probe, q = Probe(), torch.zeros(2, 1, 2, 2)
    probe.note(x, q, q, Seen(True, 0, None, None, None))
    assert (probe.mean[0].tolist(), probe.variance[0].tolist()) == ([4.0, 2.0], [5.0, 0.0])


FORMS: list[dict[str, Any]] = [
    {},
    {"attention": "differential"},
    {"attention": "chunked", "chunk_size": 8, "overlap": 4},
    {"reversible": True},
    {"use_act": True},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", ["byte", "bit"])
def test_a_look_changes_nothing_and_sees_every_layer(architecture: Any, form: dict[str, Any]) -> None:
    model = build_model(
        preset_config("tiny", architecture, d_model=32, nhead=1, num_layers=2, max_seq_len=90, **form), 0
    ).eval()
    data = torch.arange(10)[None] * 7
    documents = torch.tensor([[0] * 4 + [1] * 6])
    probe = Probe(num_queries=5)
    with torch.no_grad():
        plain = model.path_logits(data, documents=documents)
        looked_at = model.path_logits(data, documents=documents, trace=Trace(probe=probe))
    assert torch.equal(plain, looked_at)
    assert len(probe.entropy) == len(probe.mean) == len(probe.variance) == 2
    limit = math.log(10 * model.positions_per_byte)
    assert all(0 <= float(layer) <= limit for layer in probe.entropy)
