"""Muon in batches is Muon."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.training.muon import POLAR, Muon, orthogonalised

SHAPES = [(24, 8), (24, 8), (8, 24), (16, 16), (24, 8)]


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def step(optimizer: torch.optim.Optimizer, given: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in given:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def test_updates_and_state_are_those_of_torch_s_own() -> None:
    ours, theirs = parameters(), parameters()
    one, other = Muon(ours, lr=0.02, weight_decay=0.1), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in ours]
    for seed in range(4):
        step(one, ours, seed)
        step(other, theirs, seed)
    for mine, reference, old in zip(ours, theirs, before, strict=True):
        moved, apart = (reference - old).norm().item(), (mine - reference).norm().item()
        assert apart < 0.02 * moved  # both orthogonalise in bf16
        torch.testing.assert_close(one.state[mine]["momentum_buffer"], other.state[reference]["momentum_buffer"])


def test_a_parameter_without_gradient_stays() -> None:
    given = parameters()
    before = given[0].detach().clone()
    optimizer = Muon(given)
    step(optimizer, given[1:], 1)
    assert torch.equal(given[0], before) and not optimizer.state[given[0]]


def test_singular_values_come_near_one() -> None:
    made = orthogonalised(torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(2)), POLAR, 1e-7)
    values = torch.linalg.svdvals(made.float())
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4


def test_it_computes_no_loss() -> None:
    with pytest.raises(TypeError, match="without a closure"):
        Muon(parameters()).step(lambda: 0.0)
