"""The ways to run a stack are one function: outputs, gradients and keys agree, with dropout, halting, chunks, differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bitlm_core.layers import block
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.reversible import random_state, replayed
from bitlm_core.layers.stack import BlockStack, Running

FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "dropout": {"dropout": 0.2},
    "halting": {"act_threshold": 0.6},
    "chunked": {"locality": Locality(8, 5)},
    "differential": {"differential": True},
    "sinusoidal": {"position": "sinusoidal"},
    "all": {"dropout": 0.1, "act_threshold": 0.5, "locality": Locality(8, 3), "differential": True},
}
OTHER_WAYS: tuple[Running, ...] = ("checkpointed", "reversible", "nested")


def a_stack(running: Running = "plain", **form: Any) -> BlockStack:
    """Its zero-initialised parts are filled, so that nothing is hidden by zeros."""
    stack = BlockStack(d_model=32, nhead=2, num_layers=4, dim_feedforward=64, max_seq_len=64, running=running, **form)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(parameter + noise if "halting" in name else noise)
    return stack


def passed(stack: BlockStack, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, dict[str, Tensor], Trace]:
    """Output and gradients of one pass; what is random in it is the same for every stack."""
    generator, trace = torch.Generator().manual_seed(2), Trace()
    x = torch.randn(2, 50, 32, generator=generator).requires_grad_()
    target = torch.randn(2, 50, 32, generator=generator)
    torch.manual_seed(3)
    y = stack(x, causal=True, dtype=dtype, trace=trace)
    loss = (y.float() * target).sum()
    (loss if trace.ponder is None else loss + trace.ponder).backward()
    grads = {name: parameter.grad for name, parameter in stack.named_parameters() if parameter.grad is not None}
    assert x.grad is not None and len(grads) == len(list(stack.parameters()))
    return y.detach(), {"input": x.grad, **grads}, trace


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Relative to the size of the other (where it has one), over all tensors at once."""
    squares = [(float((one[name] - value).square().sum()), float(value.square().sum())) for name, value in other.items()]
    return (sum(square for square, _ in squares) / (sum(size for _, size in squares) or 1.0)) ** 0.5


@pytest.mark.parametrize("running", OTHER_WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_outputs_gradients_and_keys_agree(form: str, running: Running) -> None:
    plain, other = a_stack(**FORMS[form]), a_stack(running, **FORMS[form])
    assert list(plain.state_dict()) == list(other.state_dict())
    (expected, expected_grads, told), (found, grads, other_told) = passed(plain), passed(other)
    assert torch.equal(found, expected)
    assert distance(grads, expected_grads) < 1e-5
    for name, grad in expected_grads.items():
        assert distance({name: grads[name]}, {name: grad}) < 1e-4, name
    assert other_told.halt_probs == told.halt_probs
    assert other_told.mean_layers == told.mean_layers


def test_reversible_drift_in_bf16_is_bounded() -> None:
    """Streams are fp32, so what inversion loses is far below what bf16 sub-blocks lose by themselves."""
    exact = passed(a_stack())[1]
    plain, reversible = passed(a_stack(), dtype=torch.bfloat16)[1], passed(a_stack("reversible"), dtype=torch.bfloat16)[1]
    rounding, drift = distance(plain, exact), distance(reversible, plain)
    assert rounding < 0.03
    assert drift < rounding / 4


def test_backward_may_run_twice() -> None:
    stack = a_stack("reversible")
    y = stack(torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(4)), causal=True).sum()
    parameters = list(stack.parameters())
    first = torch.autograd.grad(y, parameters, retain_graph=True)
    second = torch.autograd.grad(y, parameters)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_frozen_parameters_stay_without_gradients_in_every_way() -> None:
    found = []
    for running in ("plain", *OTHER_WAYS):
        stack = a_stack(running)
        stack.blocks[1].attention.requires_grad_(requires_grad=False)
        x = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(4)).requires_grad_()
        stack(x, causal=True).square().mean().backward()
        assert stack.blocks[1].attention.qkv.weight.grad is None
        found.append({name: p.grad for name, p in stack.named_parameters() if p.grad is not None})
    assert all(distance(grads, found[0]) < 1e-5 for grads in found)


def test_draws_are_replayed_and_leave_no_trace() -> None:
    torch.manual_seed(5)
    state, first = random_state(torch.device("cpu")), torch.rand(3)
    later = random_state(torch.device("cpu"))
    with replayed(state, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(random_state(torch.device("cpu")), later)


def test_compiled_sub_blocks_are_used_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that does nothing; what the real one gains is in examples/RECORDS.md."""
    compiled: list[str] = []

    def compile_nothing(function: Any, *, dynamic: bool) -> Any:
        compiled.append(function.__qualname__)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    block.compiled.cache_clear()
    try:
        stack = a_stack("reversible", **FORMS["all"])
        stack.compiled = True
        assert distance(passed(stack)[1], passed(a_stack("reversible", **FORMS["all"]))[1]) == 0
        assert compiled == ["SelfAttention.forward", "FeedForward.forward"]
    finally:
        block.compiled.cache_clear()


def test_more_positions_leave_those_there_were() -> None:
    for position in ("rotary", "sinusoidal"):
        stack = a_stack(position=position)
        x = torch.randn(1, 60, 32, generator=torch.Generator().manual_seed(6))
        before, keys = stack(x, causal=True), list(stack.state_dict())
        stack.expand_positional_encoding(200)
        assert torch.equal(stack(x, causal=True), before)
        assert list(stack.state_dict()) == keys
        stack(torch.randn(1, 200, 32), causal=True)


def test_rotary_positions_go_on_past_their_table() -> None:
    stack = a_stack()
    x = torch.randn(1, 80, 32, generator=torch.Generator().manual_seed(7))
    beyond = stack(x, causal=True)
    stack.expand_positional_encoding(80)
    torch.testing.assert_close(stack(x, causal=True), beyond, rtol=0, atol=1e-6)
