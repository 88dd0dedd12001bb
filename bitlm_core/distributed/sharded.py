"""Every process has a shard of each block; a block is whole only while it is computed, forward and backward.

PyTorch's `fully_shard` (FSDP2, arXiv 2304.11277), block by block, in fp32. Reversible stacks run in their nested form, in which
each block's backward pass is within a call of the block, so that it is gathered for that too. Tables, whose gradients are
sparse, and scalars stay whole in every process. The leader has the whole network beside its shards, on which it answers; the
weights are gathered into it when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from bitlm_core.distributed.data_parallel import Loss
from bitlm_core.distributed.muon import ShardedMuon, held
from bitlm_core.distributed.tables import join_tables
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch
from bitlm_core.training.config import Objective
from bitlm_core.training.objective import BatchLoss
from bitlm_core.training.optim import is_table, make_optimizers


class Sharded(SharedTrainer):
    """Of parallel='fsdp'."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """As `Trainer.restore`; every process takes its shards of the whole."""
        parameters = dict(self.parameters())
        super().restore({path: _spread(value, parameters[path.rpartition("/")[0]]) for path, value in tensors.items()})

    def _made_network(self) -> LanguageModel:
        network = build_model(self.model.config).to(self.model.device)
        network.load_state_dict(self.model.state_dict())
        mesh = init_device_mesh(self.model.device.type, (self.world.size,))
        self._wrapped = Loss(network)
        whole = {parameter for name, parameter in network.named_parameters() if is_table(name) or not parameter.dim()}
        for each in network.networks:
            for stack in each.stacks:
                if stack.running == "reversible":
                    stack.running = "nested"
                stack.skips_halted = False  # a block is gathered by all or none, and other rows may need it
                for block in stack.blocks:
                    fully_shard(block, mesh=mesh, ignored_params=whole)
        fully_shard(self._wrapped, mesh=mesh, ignored_params=whole)
        for part in _fully_sharded(self._wrapped):  # rows are weighed as shares of the whole batch: a sum is wanted, no mean
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
        return network

    def _made_optimizers(self) -> list[torch.optim.Optimizer]:
        return make_optimizers(self.parameters(), self.config, muon=ShardedMuon)

    def _loss(self, part: Batch, objective: Objective, generator: torch.Generator, **told: Any) -> BatchLoss:
        found: BatchLoss = self._wrapped(part, objective, generator, told)
        return found

    @contextmanager
    def _exchanging(self, *, last: bool) -> Iterator[None]:
        for part in _fully_sharded(self._wrapped):
            part.set_requires_gradient_sync(last, recurse=False)
        yield

    def _exchanged(self, nats: float) -> float:
        named = self.parameters()
        join_tables(self.network)
        for name, parameter in named:
            if not is_table(name) and not isinstance(parameter, DTensor) and parameter.grad is not None:
                dist.all_reduce(parameter.grad)
        return super()._exchanged(nats)

    def _clip(self) -> float:
        dense = [parameter.grad for name, parameter in self.parameters() if not is_table(name) and parameter.grad is not None]
        ours = [held(grad) for grad in dense if isinstance(grad, DTensor) or self.world.leads]  # what is whole counts once
        return self._clip_together([held(grad) for grad in dense], ours)

    @torch.no_grad()
    def _gather_weights(self) -> None:
        known = dict(self.model.named_parameters())
        for name, parameter in self.parameters():
            whole = _whole(parameter)
            if self.world.leads:
                known[name].copy_(whole)

    def _gathered_moments(self) -> dict[str, Tensor]:
        return {name: _whole(value) for name, value in self._moments().items()}


def _fully_sharded(module: nn.Module) -> list[FSDPModule]:
    """The parts of a module that `fully_shard` was called with, and so made an `FSDPModule` too."""
    return [cast(FSDPModule, part) for part in module.modules() if isinstance(part, FSDPModule)]


def _whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered from all processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has, spread over them as another of its shape is; of any other shape, as it is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
