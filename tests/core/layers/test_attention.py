"""Attention: the explicit form and SDPA are twins; caches and masks mean what they say."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.layers.attend import _attend_explicitly, as_bias, attend, causal_mask
from bitlm_core.layers.attention import SelfAttention, Sight
from bitlm_core.layers.embedding import MASK, START, ByteEmbedding
from bitlm_core.layers.feedforward import SquaredReLU
from bitlm_core.layers.memory import KeyValueCache
from bitlm_core.layers.position import rotary_table, sinusoidal_table
from bitlm_core.layers.stack import BlockStack


def qkv(seed: int, T: int, S: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, 3, T, 8, generator=generator),
        torch.randn(2, 3, S, 8, generator=generator),
        torch.randn(2, 3, S, 8, generator=generator),
    )


@pytest.mark.parametrize(("T", "S"), [(6, 6), (1, 6), (3, 6)])
@pytest.mark.parametrize("causal", [True, False])
def test_the_explicit_form_equals_sdpa_with_gradients(T: int, S: int, causal: bool) -> None:
    tensors = [tensor.requires_grad_() for tensor in qkv(0, T, S)]
    fused = attend(*tensors, causal=causal)
    fused_grads = torch.autograd.grad(fused.square().sum(), tensors)
    explicit = _attend_explicitly(*tensors, as_bias(causal_mask(T, S), torch.float32) if causal else None)
    explicit_grads = torch.autograd.grad(explicit.square().sum(), tensors)
    torch.testing.assert_close(explicit, fused, rtol=1e-5, atol=1e-5)
    for one, other in zip(explicit_grads, fused_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_causal_mask_by_hand() -> None:
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_a_cache_returns_all_that_was_stored() -> None:
    cache = KeyValueCache(8)
    _, k, v = qkv(1, 1, 4)
    cache.append(k[:1, :, :3], v[:1, :, :3])
    keys, values = cache.append(k[:1, :, 3:], v[:1, :, 3:])
    assert cache.length == 4
    assert torch.equal(keys, k[:1]) and torch.equal(values, v[:1])


def test_rotary_scores_depend_on_distance_alone() -> None:
    module = SelfAttention(16, 2)
    cos, sin = rotary_table(torch.arange(32), 8)
    x = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(2))
    near = module(x, Sight(causal=True, rotary=(cos[:4], sin[:4])))
    with torch.no_grad():
        module.out.weight.normal_(generator=torch.Generator().manual_seed(3))
    near = module(x, Sight(causal=True, rotary=(cos[:4], sin[:4])))
    far = module(x, Sight(causal=True, rotary=(cos[20:24], sin[20:24])))
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-5)


def test_sinusoidal_positions_by_hand() -> None:
    table = sinusoidal_table(3, 4)
    assert table[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert table[1, 0].item() == pytest.approx(0.841471)
    assert table[2, 2].item() == pytest.approx(0.0199987, rel=1e-4)


def test_an_unsaved_table_adds_no_keys_to_the_state() -> None:
    stack = BlockStack(d_model=16, nhead=2, num_layers=1, dim_feedforward=32, max_seq_len=8, dropout=0.0, position="rotary")
    assert sorted(stack.state_dict()) == [
        "blocks.0.attention.out.weight",
        "blocks.0.attention.qkv.weight",
        "blocks.0.feedforward.down.weight",
        "blocks.0.feedforward.up.weight",
    ]


def test_squared_relu_is_its_formula() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(SquaredReLU.apply, (x,))
    assert torch.equal(SquaredReLU.apply(x), x.relu() ** 2)


def test_a_byte_embeds_as_its_row_and_the_sum_of_its_bits() -> None:
    embedding = ByteEmbedding(4)
    made = embedding(torch.tensor([[0b1000_0001, MASK, START]]))[0]
    signs = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, 1, -1])
    torch.testing.assert_close(made[0], embedding.byte[0b1000_0001] + signs @ embedding.bit)
    assert torch.equal(made[1], embedding.byte[MASK]) and torch.equal(made[2], embedding.byte[START])
