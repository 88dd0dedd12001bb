"""Bytes alive at once: exact on programs whose answer is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bitlm_core.bench.live_bytes import LiveBytes

KIB = 1024


def floats(kib: int) -> torch.Tensor:
    return torch.ones(kib * KIB // 4)


def test_the_peak_is_of_what_lives_at_the_same_time() -> None:
    with LiveBytes() as live:
        first = floats(3)
        second = first * 2
        del first
        third = torch.cat([second, second])
        del second, third
        floats(4)
    assert live.peak() == 9 * KIB


def test_views_and_changes_in_place_hold_no_bytes() -> None:
    with LiveBytes() as live:
        held = floats(2)
        held.view(2, -1).t().add_(1)
    assert live.peak() == 2 * KIB


def test_what_was_there_before_counts_nothing() -> None:
    before = torch.ones(64, 64)
    with LiveBytes() as live:
        F.linear(torch.ones(1, 64), before.t().contiguous().t())
        view = before.t()
    assert view.shape == (64, 64)
    assert live.peak() == 4 * (64 + 64 * 64 + 64)


def test_backward_is_seen_and_gradients_can_be_left_out() -> None:
    weight = torch.ones(KIB, requires_grad=True)
    with LiveBytes() as live:
        doubled = weight * 2
        doubled.sum().backward()
    assert weight.grad is not None
    assert live.peak() - live.peak(without=[weight.grad]) == 4 * KIB <= live.peak(without=[weight.grad])


def test_a_sparse_gradient_counts_as_its_indices_and_values() -> None:
    table = torch.zeros(100_000, 64, requires_grad=True)
    places = torch.arange(10)
    with LiveBytes() as live:
        rows = F.embedding(places, table, sparse=True)
        rows.sum().backward()
    assert table.grad is not None and table.grad.layout is torch.sparse_coo
    rows_bytes = 10 * 64 * 4
    assert rows_bytes <= live.peak(without=[table.grad]) < live.peak() <= 4 * rows_bytes
