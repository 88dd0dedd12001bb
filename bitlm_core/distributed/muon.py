"""Muon where FSDP2 has spread matrices over several processes by rows: each matrix is orthogonalised by one of them.

Its rows go to that one and come back, in bf16, as the products are: nothing is rounded that one process would not round. This
is the distributed Muon of arXiv 2502.16982 (section 2.3), but that it brings a matrix to one process in place of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from bitlm_core.training.muon import Muon, Polynomial, by_shape


class ShardedMuon(Muon):
    """Every process has some rows of each matrix, of its gradient and of its momentum."""

    def _at_once(self, parameters: list[Tensor]) -> list[list[Tensor]]:
        return [parameters] if parameters else []  # in two exchanges

    def _held(self, tensor: Tensor) -> Tensor:
        return held(tensor)

    def _orthogonalised(
        self, updates: list[Tensor], parameters: list[Tensor], polynomials: Sequence[Polynomial], eps: float
    ) -> list[Tensor]:
        shares, rank = _shares(parameters), dist.get_rank()
        mine, processes = shares[rank], range(len(shares))
        rows = [_rows_of_each(len(parameter), len(shares)) for parameter in parameters]
        columns = [parameter.shape[1] for parameter in parameters]
        theirs = [[rows[n][process] * columns[n] for n in mine] for process in processes]
        ours = [[rows[n][rank] * columns[n] for n in share] for share in shares]
        device = updates[0].device
        brought = _exchanged([_flat([updates[n] for n in share], device) for share in shares], theirs)
        whole = [torch.cat(parts).view(parameters[n].shape) for n, parts in zip(mine, zip(*brought, strict=True), strict=True)]
        made = super()._orthogonalised(whole, [parameters[n] for n in mine], polynomials, eps)
        cut = [torch.split(matrix, rows[n]) for n, matrix in zip(mine, made, strict=True)]
        told = _exchanged([_flat([parts[process] for parts in cut], device) for process in processes], ours)
        found = {n: part for share, parts in zip(shares, told, strict=True) for n, part in zip(share, parts, strict=True)}
        return [found[n].view(update.shape) for n, update in enumerate(updates)]


def held(tensor: Tensor) -> Tensor:
    """What this process has of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _shares(matrices: Sequence[Tensor]) -> list[list[int]]:
    """The numbers of those that each process orthogonalises: of every shape about as many, for they are done in batches."""
    ordered = [n for numbers in by_shape(matrices).values() for n in numbers]
    size = dist.get_world_size()
    return [ordered[rank::size] for rank in range(size)]


def _rows_of_each(rows: int, size: int) -> list[int]:
    """How many rows of a matrix each process has: as `torch.chunk` cuts it, and none where it does not suffice."""
    most = -(-rows // size)
    return [max(0, min(most, rows - most * rank)) for rank in range(size)]


def _flat(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """All numbers of some tensors, none or more, in a row, in bf16."""
    none = torch.empty(0, dtype=torch.bfloat16, device=device)
    return torch.cat([none, *(part.bfloat16().flatten() for part in parts)])


def _exchanged(given: list[Tensor], sizes: list[list[int]]) -> list[Sequence[Tensor]]:
    """What each process has for this one, in parts of these sizes; given: what this one has for each."""
    totals = [sum(parts) for parts in sizes]
    found = given[0].new_empty(sum(totals))
    dist.all_to_all_single(found, torch.cat(given), totals, [len(part) for part in given])
    return [torch.split(part, parts) for part, parts in zip(torch.split(found, totals), sizes, strict=True)]
