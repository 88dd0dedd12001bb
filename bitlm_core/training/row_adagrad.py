"""Adagrad for large tables of which a step touches few rows: one accumulator per row, sparse gradients.

For every occurrence of a row r with gradient g:  a_r ← a_r + mean(g²), all occurrences first;  then
W_r ← W_r − η g / √(a_r + ε).

Duchi et al., 2011 (JMLR 12), per row as recommender systems do it. Costs in proportion to the occurrences, not to the table,
and keeps one number per row where Adam keeps two per element.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_EPSILON = 1e-12


class RowAdagrad(torch.optim.Optimizer):
    """For parameters [rows, D] whose gradients are sparse COO tensors over rows, as `F.embedding(…, sparse=True)` gives."""

    def __init__(self, params: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every table that has a gradient; `closure` must be None."""
        if closure is not None:
            raise TypeError("RowAdagrad.step computes no loss: call backward first, and step without a closure")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group["lr"])

    def _update(self, table: Tensor, lr: float) -> None:
        assert table.grad is not None and table.grad.is_sparse  # noqa: S101
        rows, grads = table.grad._indices()[0], table.grad._values()
        if not self.state[table]:
            self.state[table]["sum"] = torch.zeros(len(table), device=table.device)
        total = self.state[table]["sum"]
        with _in_order(table.device):
            total.index_add_(0, rows, grads.square().mean(dim=1))
            table.index_add_(0, rows, grads * (total[rows] + _EPSILON).rsqrt()[:, None], alpha=-lr)


@contextmanager
def _in_order(device: torch.device) -> Iterator[None]:
    """Occurrences of a row are added in their order; a GPU adds them as its threads come, where it is not told to."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def joined_occurrences(table: Tensor, grads: Sequence[Tensor]) -> Tensor:
    """Sparse gradients of one table as one, which keeps every occurrence apart: sums of them PyTorch makes where it can.

    Of none at all it is one without rows.
    """
    rows = [grad._indices() for grad in grads] or [torch.zeros((1, 0), dtype=torch.int64, device=table.device)]
    values = [grad._values() for grad in grads] or [table.detach()[:0]]
    return occurrences(table, torch.cat(rows, dim=1)[0], torch.cat(values))


def occurrences(table: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A sparse gradient of `table` [R, D]: rows [n] int64, of which some may be the same, and values [n, D]."""
    opted_out = torch.sparse.check_sparse_tensor_invariants(enable=False)  # type: ignore[no-untyped-call]
    with opted_out:  # PyTorch 2.11 warns where an argument alone says so
        return torch.sparse_coo_tensor(rows[None], values, table.shape)
