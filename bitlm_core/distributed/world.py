"""Which process of how many this one is, and how they talk: gloo on CPUs, NCCL beside it on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

TIMEOUT = timedelta(hours=1)
"""For an order: the leader may be reading, or looking at held-out data."""

_LEFT: list[dist.ProcessGroup | None] = []
"""The groups of worlds that were left, kept to the process's end: what holds one last may be DDP's reducer, which waits for
gloo's threads with the interpreter's lock, for which they wait to free the last exchange."""


@dataclass(frozen=True)
class World:
    """rank: 0 … size − 1; local_rank: among the processes of this machine; device: where this one computes."""

    rank: int
    size: int
    local_rank: int
    device: str

    @property
    def leads(self) -> bool:
        """Whether this process has the engine, and gives the orders."""
        return self.rank == 0


@contextmanager
def joined(device: Literal["auto", "cpu", "cuda"] = "auto") -> Iterator[World]:
    """The world of a process that torchrun started, which it leaves at the end. `auto`: a GPU each where there are some.

    Raises ValueError where torchrun has left no address to meet at.
    """
    gpus = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT)
    try:
        local = dist.get_node_local_rank(fallback_rank=dist.get_rank())
        if gpus:
            torch.cuda.set_device(local)
        yield World(dist.get_rank(), dist.get_world_size(), local, f"cuda:{local}" if gpus else "cpu")
    finally:
        _LEFT.append(dist.group.WORLD)
        dist.destroy_process_group()
