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
from bitlm_core.training.row_adagrad import joined_occurrences, occurrences


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
    rows, values = own._indices()[0], own._values()
    told = torch.zeros(dist.get_world_size(), 2, dtype=torch.int64, device=table.device)
    told[dist.get_rank()] = torch.tensor([len(rows), _alike(values, rows_met)])
    dist.all_reduce(told)
    counts = told[:, 0].tolist()
    if not any(counts):
        return
    rows = _joined(rows, counts)
    if told[:, 1].all():
        values = _joined(values[::rows_met], [count // rows_met for count in counts]).repeat_interleave(rows_met, dim=0)
    else:
        values = _joined(values, counts)
    table.grad = occurrences(table, rows, values)


def _alike(values: Tensor, rows_met: int) -> bool:
    """Whether the gradients [n, D] are those of positions, each for all the rows that it met."""
    if len(values) % rows_met:  # autograd has summed some: the network was used twice in a pass
        return False
    of_positions = values.view(-1, rows_met, values.shape[1])
    return bool((of_positions == of_positions[:, :1]).all())


def _joined(part: Tensor, counts: list[int]) -> Tensor:
    """[n, …] of this process → [Σ n, …] of all; padded on the way where they differ, for all must send as much."""
    most, rest = max(counts), part.shape[1:]
    padded = part if len(part) == most else torch.cat([part, part.new_zeros((most - len(part), *rest))])
    found = part.new_empty((most * len(counts), *rest))
    parts = torch.split(found, most)
    dist.all_gather(list(parts), padded.contiguous())
    if min(counts) == most:
        return found
    return torch.cat([each[:count] for each, count in zip(parts, counts, strict=True)])
