"""Attention in chunks: what is seen, by brute force; equal to full attention where all is in reach; pasts and documents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bitlm_core.layers.attend import attend
from bitlm_core.layers.local_attention import attend_locally
from bitlm_core.layers.memory import CarriedMemory, KeyValueCache, Locality


def qkv(T: int, S: int | None = None, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(T)
    sizes = (T, S or T, S or T)
    return [torch.randn(2, 3, size, 8, generator=generator).to(dtype).requires_grad_() for size in sizes]


def seen(T: int, near: Locality, *, causal: bool, start: int = 0, first: int = 0) -> Tensor:
    """[T, S] by the definition, one pair at a time."""
    mask = torch.zeros(T, start + T - first, dtype=torch.bool)
    for query in range(start, start + T):
        begin = query // near.chunk * near.chunk
        for key in range(first, start + T):
            after = key < begin + near.chunk + near.overlap
            mask[query - start, key - first] = begin - near.overlap <= key and (key <= query if causal else after)
    return mask


@pytest.mark.parametrize("near", [Locality(8, 8), Locality(8, 3), Locality(5, 0), Locality(16, 1)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("T", [8, 21, 40])
def test_it_is_attention_with_the_mask_of_its_definition(T: int, near: Locality, causal: bool) -> None:
    tensors = qkv(T)
    local = attend_locally(*tensors, near, causal=causal, start=0)
    full = attend(*tensors, causal=causal, mask=seen(T, near, causal=causal))
    torch.testing.assert_close(local, full, rtol=1e-5, atol=1e-6)
    local_grads = torch.autograd.grad(local.square().sum(), tensors)
    for one, other in zip(local_grads, torch.autograd.grad(full.square().sum(), tensors), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_explicit_form_of_bf16_is_the_same(causal: bool) -> None:
    near, tensors = Locality(8, 5), qkv(30, dtype=torch.bfloat16)
    local = attend_locally(*tensors, near, causal=causal, start=0)
    exact = attend(*(tensor.float() for tensor in tensors), causal=causal, mask=seen(30, near, causal=causal))
    torch.testing.assert_close(local.float(), exact, rtol=0, atol=0.03)


def test_a_window_that_covers_the_sequence_is_full_attention() -> None:
    for near, T, causal in ((Locality(40, 0), 40, True), (Locality(20, 20), 40, True), (Locality(40, 0), 40, False)):
        assert near.sees_all(T, causal=causal)
        tensors = qkv(T)
        torch.testing.assert_close(
            attend_locally(*tensors, near, causal=causal, start=0), attend(*tensors, causal=causal), rtol=1e-5, atol=1e-6
        )
    assert not Locality(20, 20).sees_all(41, causal=True)
    assert not Locality(20, 20).sees_all(41, causal=False)


@pytest.mark.parametrize(("start", "T"), [(1, 1), (16, 1), (23, 1), (23, 30), (16, 4), (22, 6), (19, 4)])
def test_a_past_is_seen_as_far_as_it_reaches(start: int, T: int) -> None:
    near = Locality(8, 5)
    first = near.first_seen(start)
    tensors = qkv(T, start + T - first)
    local = attend_locally(*tensors, near, causal=True, start=start)
    full = attend(*tensors, causal=True, mask=seen(T, near, causal=True, start=start, first=first))
    torch.testing.assert_close(local, full, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
def test_documents_do_not_see_each_other(causal: bool) -> None:
    near, T = Locality(8, 8), 30
    documents = torch.stack([torch.arange(T) // 7, torch.arange(T) // 13])
    tensors = qkv(T)
    local = attend_locally(*tensors, near, causal=causal, start=0, documents=documents)
    mask = seen(T, near, causal=causal) & (documents[:, None, :, None] == documents[:, None, None, :])
    torch.testing.assert_close(local, attend(*tensors, causal=causal, mask=mask), rtol=1e-5, atol=1e-6)


def test_a_cache_forgets_what_nobody_will_see_and_nothing_else() -> None:
    near, cache = Locality(4, 2), KeyValueCache(12, Locality(4, 2))
    numbers = torch.arange(100.0).view(1, 1, 100, 1)
    end = 0
    for size in (1, 3, 1, 8, 30, 1, 1, 5):
        cache.reserve(size)
        needed = near.first_seen(end)
        keys, values = cache.append(numbers[:, :, end : end + size], numbers[:, :, end : end + size])
        end += size
        assert keys.flatten().tolist()[-(end - needed) :] == list(range(needed, end))
        assert torch.equal(keys, values)
        assert cache.length == end
    cache.truncate(end - 3)
    assert cache.length == end - 3


def test_what_is_carried_changes_at_commit_alone() -> None:
    memory, numbers = CarriedMemory(Locality(4, 4)), torch.arange(20.0).view(1, 1, 20, 1)
    for _ in range(2):  # computed again, as checkpointing does
        keys, _ = memory.append(numbers[:, :, :6], numbers[:, :, :6])
        assert keys.flatten().tolist() == list(range(6))
    memory.commit(6)
    keys, _ = memory.append(numbers[:, :, 6:9], numbers[:, :, 6:9])
    assert keys.flatten().tolist() == list(range(9))
    memory.commit(3)
    assert (memory.first, memory.length) == (4, 9)
    keys, _ = memory.append(numbers[:, :, 9:10], numbers[:, :, 9:10])
    assert keys.flatten().tolist() == [4, 5, 6, 7, 8, 9]


def test_no_gradient_flows_into_the_past() -> None:
    memory = CarriedMemory(Locality(4, 4))
    past = torch.ones(1, 1, 4, 1, requires_grad=True)
    memory.append(past, past)
    memory.commit(4)
    now = torch.ones(1, 1, 2, 1, requires_grad=True)
    keys, _ = memory.append(now, now)
    keys.sum().backward()
    assert past.grad is None and now.grad is not None


def test_a_chunk_larger_than_what_is_read_costs_nothing() -> None:
    near = Locality(131_072, 131_072)
    for start, T in ((0, 20), (131_070, 9)):
        tensors = qkv(T, min(start, 30) + T)
        local = attend_locally(*tensors, near, causal=True, start=start)
        torch.testing.assert_close(local, attend(*tensors, causal=True), rtol=1e-5, atol=1e-6)
