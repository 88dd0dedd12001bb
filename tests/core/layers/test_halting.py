"""Halting: weights that sum to one, states that stay, layers that are not computed, and a cost with a gradient."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.layers.block import Block
from bitlm_core.layers.halting import HaltingUnit, Trace
from bitlm_core.layers.stack import BlockStack
from tests.core.layers.test_stack import a_stack


def biased(stack: BlockStack, biases: list[float]) -> BlockStack:
    """With units that see nothing and halt with a fixed probability each."""
    with torch.no_grad():
        for layer, bias in zip(stack.blocks, biases, strict=True):
            layer.halting.weight.zero_()
            layer.halting.bias.fill_(bias)
    return stack


def test_weights_and_remainder_by_hand() -> None:
    unit = HaltingUnit(4)
    with torch.no_grad():
        unit.bias.fill_(0.0)  # p = 1/2 everywhere
    state = torch.arange(8.0).view(1, 2, 4)
    first = unit(state, torch.tensor([[0.0, 0.5]]), threshold=0.9, last=False)
    assert first.spent.tolist() == [[0.5, 1.0]]
    assert first.remainder.tolist() == [[0.0, 0.5]]
    assert torch.equal(first.weighted, 0.5 * state)
    second = unit(state, first.spent, threshold=0.9, last=True)
    assert second.spent.tolist() == [[1.0, 1.0]]
    assert second.remainder.tolist() == [[0.5, 0.0]]
    assert second.weighted[0, 1].tolist() == [0, 0, 0, 0]
    assert second.probability.tolist() == [[0.5, 0.0]]


def test_a_halted_position_stays_as_it_is_and_layers_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    original = Block._compute
    monkeypatch.setattr(Block, "_compute", lambda self, *given: computed.append(self) or original(self, *given))
    x = torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(0))
    trace = Trace()
    early = biased(a_stack(act_threshold=0.9), [0.0, 5.0, 0.0, 0.0])
    known = early(x, causal=True, trace=trace)
    assert len(computed) == 2 == trace.layers_computed
    assert trace.mean_layers == 2
    assert trace.halt_probs == pytest.approx((0.5, 0.9933, 0, 0), abs=1e-4)
    assert trace.ponder is not None and trace.ponder.item() == pytest.approx(2 + 0.5)
    early.skips_halted = False
    assert torch.equal(early(x, causal=True), known)
    assert len(computed) == 2 + 4


def test_what_was_skipped_would_have_changed_nothing() -> None:
    """The same positions beside some that go on: all layers are computed, and the halted ones come out the same."""
    stack = a_stack(act_threshold=0.5)
    with torch.no_grad():
        for layer in stack.blocks:
            layer.halting.weight.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.randn(4, 12, 32, generator=torch.Generator().manual_seed(2))
    trace = Trace()
    together = stack(x, causal=True, trace=trace)
    assert 1 < trace.mean_layers < 4
    alone = torch.cat([stack(row[None], causal=True) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_the_cost_pushes_probabilities_up() -> None:
    stack, trace = biased(a_stack(act_threshold=0.99), [-2.0] * 4), Trace()
    stack(torch.randn(1, 10, 32), causal=True, trace=trace)
    assert trace.ponder is not None
    trace.ponder.backward()
    assert all(float(layer.halting.bias.grad) < 0 for layer in list(stack.blocks)[:3])


def test_stacks_without_halting_tell_nothing() -> None:
    trace = Trace()
    a_stack()(torch.randn(1, 5, 32), causal=True, trace=trace)
    assert trace == Trace()


def test_a_pass_in_pieces_tells_what_one_does_and_leaves_out_what_is_not_there() -> None:
    """Without attention to earlier pieces, so that each position goes its own way in both."""
    unit = torch.tensor([[0.9, 0.2, 0.6, 0.3], [0.1, 0.8, 0.5, 0.4]])
    remainder, reached = 1 - unit, unit < 0.85
    whole, pieces, all_there = Trace(), Trace(), torch.ones_like(reached)
    whole.note([unit, unit * reached], [all_there, reached], remainder, 3)
    for part in (slice(0, 1), slice(1, 4)):
        seen = [each[:, part] for each in (unit, unit * reached, all_there, reached, remainder)]
        pieces.note(seen[:2], seen[2:4], seen[4], 3)
    assert pieces.halt_probs == pytest.approx(whole.halt_probs) and pieces.mean_layers == whole.mean_layers == 1 + 7 / 8
    assert whole.ponder is not None and pieces.ponder is not None
    assert float(pieces.ponder) == pytest.approx(float(whole.ponder))
    counted = Trace(counted=torch.tensor([[True, True, False, False]] * 2))
    counted.note([unit], [torch.ones_like(reached)], remainder, 3)
    assert counted.halt_probs == (0.5, 0.0, 0.0) and counted.positions == 4 and counted.reached == (4, 0, 0)
    assert counted.ponder is not None and float(counted.ponder) == pytest.approx(1 + 0.5)
