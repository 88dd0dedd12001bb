"""Gradients of what is the same in all processes and that PyTorch's own exchange does not know: tables with sparse gradients.

The occurrences of all processes are joined in the order of their ranks, none summed up: `RowAdagrad` takes the mean square of
each, so it moves the tables as one process would that had all rows.

A position meets one row for each length of n-gram, and all of these have the gradient of the position, unless rows were
dropped: then the gradient is sent once for all of them.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bitlm_core.layers.embedding import NgramEmbedding
from bitlm_core.layers.neighbours import GroupEmbedding
from bitlm_core.training.row_adagrad import joined_occurrences


def join_tables(network: nn.Module) -> None:
    """Give every process the occurrences of all; a table that none of them has met keeps no gradient."""
    for module in network.modules():
        if isinstance(module, NgramEmbedding):
            _join(module.weight, len(module.orders))
        elif isinstance(module, GroupEmbedding):
            _join(module.weight, len(module.groups))


def _join(table: nn.Parameter, rows_met: int) -> None:
    """Of one table, of which a position meets so many rows, one after the other."""
    own = joined_occurrences(table, [] if table.grad is None else [table.grad])
    rows, values = own._indices()[0], own._values().view(-1, rows_met, table.shape[1])
    told = torch.zeros(dist.get_world_size(), 2, dtype=torch.int64, device=table.device)
    told[dist.get_rank()] = torch.tensor([len(values), bool((values == values[:, :1]).all())])
    dist.all_reduce(told)
    counts, alike = told[:, 0].tolist(), bool(told[:, 1].all())
    if not any(counts):
        return
    rows = _joined(rows.view(-1, rows_met), counts).flatten()
    values = _joined(values[:, 0], counts)[:, None].expand(-1, rows_met, -1) if alike else _joined(values, counts)
    values = values.reshape(len(rows), table.shape[1])
    table.grad = torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False)


def _joined(part: Tensor, counts: list[int]) -> Tensor:
    """[n, …] of this process → [Σ n, …] of all; padded on the way where the others have more, for all must send as much."""
    most = max(counts)
    padded = part.contiguous() if len(part) == most else part.new_zeros((most, *part.shape[1:]))
    if len(part) != most:
        padded[: len(part)] = part
    found = part.new_empty((len(counts), *padded.shape))
    dist.all_gather(list(found.unbind(0)), padded)
    return (
        torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])
        if min(counts) != most
        else found.flatten(0, 1)
    )
