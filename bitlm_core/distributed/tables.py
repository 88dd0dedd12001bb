"""Gradients of what is the same in all processes and that PyTorch's own exchange does not know: tables with sparse gradients.

The occurrences of all processes are joined in the order of their ranks, none summed up: `RowAdagrad` takes the mean square of
each, so it moves the tables as one process would that had all rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bitlm_core.training.row_adagrad import joined_occurrences


def join_tables(tables: Iterable[nn.Parameter]) -> None:
    """Give every process the occurrences of all; a table that none of them has met keeps no gradient."""
    for table in tables:
        own = joined_occurrences(table, [] if table.grad is None else [table.grad])
        rows, values = own._indices()[0], own._values()
        counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=table.device)
        counts[dist.get_rank()] = len(rows)
        dist.all_reduce(counts)
        if counts.any():
            rows, values = (_joined(part, counts.tolist()) for part in (rows, values))
            table.grad = torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False)


def _joined(part: Tensor, counts: list[int]) -> Tensor:
    """[n, …] of this process → [Σ n, …] of all; padded on the way, for all must send as much."""
    padded = part.new_zeros((max(counts), *part.shape[1:]))
    padded[: len(part)] = part
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded)
    return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])
