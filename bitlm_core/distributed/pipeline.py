"""Every process has some of the blocks of the middle stack; all rows pass through all of them, in small batches.

    rank 0       what comes before the middle stack, and its first blocks      (`models.pieces`)
    in between   some blocks each
    last rank    the last blocks, and what comes after them: the loss

PyTorch's schedule 1F1B (arXiv 1806.03377): after a warm-up each process alternates between the forward pass of one small batch
and the backward pass of an earlier one. The loss is that of one process that computes the small batches as its parts; what
dropout drops, each process draws by itself. The leader has the whole network beside its blocks, as in `sharded`, and the last
rank tells it what was predicted.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from bitlm_core.distributed.parallel import micro_batches
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.reversible import Streams
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_nats
from bitlm_core.models.pieces import Pieces, pieces_of
from bitlm_core.training.batches import Batch
from bitlm_core.training.compressed import Feed, Showing
from bitlm_core.training.config import Objective
from bitlm_core.training.optim import is_table, make_optimizers, state_layout
from bitlm_core.training.row_adagrad import joined_occurrences

_TOLD_ROWS = 8
"""Rows of a step whose predictions the leader is told, for telemetry."""


class Pipeline(SharedTrainer):
    """Of parallel='pipeline'."""

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Those of this process."""
        named = self.network.named_parameters()
        return [(name, parameter) for name, parameter in named if self._owners[name] == self.world.rank]

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """As `Trainer.restore`; every process takes its own."""
        mine = {path: value for path, value in tensors.items() if self._owners[path.rpartition("/")[0]] == self.world.rank}
        super().restore(mine)

    @property
    def _last(self) -> int:
        return self.world.size - 1

    @property
    def _first_part(self) -> int:
        return 0

    def _own_rows(self, count: int) -> Tensor:
        return torch.arange(count)

    def _made_network(self) -> LanguageModel:
        network = build_model(self.model.config).to(self.model.device)
        network.load_state_dict(self.model.state_dict())
        self._pieces = pieces_of(network)
        self._owners = _owners(network, self._pieces, self.world.size)
        for name, parameter in network.named_parameters():
            if self._owners[name] != self.world.rank:
                parameter.data = parameter.data.new_empty(0)
            elif is_table(name):
                parameter.register_post_accumulate_grad_hook(self._met)  # type: ignore[no-untyped-call]
        return network

    def _met(self, table: Tensor) -> None:
        """Keep apart what the small batches meet, which autograd would sum where it can."""
        if table.grad is not None:
            self._occurrences.setdefault(table, []).append(table.grad)
            table.grad = None

    def _backward(
        self, showing: Showing, objective: Objective, step: int, of_bytes: int, told: dict[str, Any]
    ) -> tuple[float, Tensor, Trace, Feed | None]:
        torch.manual_seed(self._random_seed(step, self.world.rank))
        self._occurrences: dict[Tensor, list[Tensor]] = {}
        rows, trace, losses = showing.data, Trace(), list[Tensor]()
        ends = self.world.rank == self._last
        given = () if self.world.rank else (rows.data,)
        wanted: dict[str, Any] = {"target": rows.data, "losses": losses} if ends else {}
        out = self._schedule(rows, trace).step(*given, data=rows.data, documents=rows.documents, **wanted)
        for table, grads in self._occurrences.items():
            table.grad = joined_occurrences(table, grads) / len(grads)
        total = self._exchanged(float(torch.stack(losses).detach().double().mean()) if ends else 0.0)
        self._complete_gradients(objective)
        logits = self._told_leader(out[:_TOLD_ROWS].detach() if ends else None)
        nodes = self._told_leader(trace.nodes)
        trace.nodes = nodes if len(nodes) else None
        return total, logits, trace, None

    def _schedule(self, rows: Batch, trace: Trace) -> Schedule1F1B:
        """Made anew for each step: patches make another number of positions of every batch."""
        rank, network = self.world.rank, self.network
        count = micro_batches(len(rows.data), self.world.size, self.config.accumulation)
        length = self._pieces.length(rows.data, rows.documents)
        blocks = shares(len(network.stack.blocks), self.world.size)[rank]
        stage = _Stage(network, self._pieces, blocks, length, trace, ends=rank == self._last)
        small = rows.data[: len(rows.data) // count]
        streams = [torch.empty(len(small), length, network.config.d_model, device=self.model.device) for _ in range(2)]
        passed = tuple(part.requires_grad_() for part in (*streams, *self._pieces.beside(small, self.dtype)))
        logits = torch.empty((*small.shape, 8), device=self.model.device, requires_grad=True)
        part = PipelineStage(
            submodule=stage,
            stage_index=rank,
            num_stages=self.world.size,
            device=self.model.device,
            input_args=passed if rank else (small,),
            output_args=(logits,) if rank == self._last else passed,
        )
        return Schedule1F1B(part, n_microbatches=count, loss_fn=lambda logits, data: path_nats(logits, data).mean())

    def _clip(self) -> float:
        dense = [parameter.grad for name, parameter in self.parameters() if not is_table(name) and parameter.grad is not None]
        return self._clip_together(dense, dense)

    def _told_leader(self, found: Tensor | None) -> Tensor:
        """What the last rank has found, [N, …] with at most two more dimensions; nothing, [0, 1, 8], in all but the leader."""
        device = self.model.device
        shape = torch.zeros(3, dtype=torch.int64, device=device)
        if found is not None:
            shape[: found.dim()] = torch.tensor(found.shape)
        dist.broadcast(shape, src=self._last)
        size = [length for length in shape.tolist() if length]
        if size and self.world.leads:
            told = torch.empty(size, device=device)
            dist.recv(told, src=self._last)
            return told
        if found is not None:
            dist.send(found.contiguous(), dst=0)
        return torch.zeros((0, 1, 8), device=device)

    @torch.no_grad()
    def _gather_weights(self) -> None:
        mine = dict(self.parameters())
        for name, whole in self.model.named_parameters():
            self._gather(self._owners[name], mine.get(name), whole)

    def _gathered_moments(self) -> dict[str, Tensor]:
        mine, found = self._moments(), dict[str, Tensor]()
        if not mine:  # so nobody has any
            return found
        named = dict(self.model.named_parameters())
        for optimizer in make_optimizers(list(named.items()), self.config):
            owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            for name, parameter in named.items():
                for key, (shape, dtype) in state_layout(optimizer, parameter).items() if id(parameter) in owned else ():
                    path = f"{name}/{key}"
                    found[path] = torch.empty(shape if self.world.leads else 0, dtype=dtype, device=self.model.device)
                    self._gather(self._owners[name], mine.get(path), found[path])
        return found

    def _gather(self, owner: int, held: Tensor | None, whole: Tensor) -> None:
        """Bring what one process has to the leader."""
        if owner == self.world.rank:
            assert held is not None  # noqa: S101
            if self.world.leads:
                whole.copy_(held)
            else:
                dist.send(held.detach().to(self.model.device).contiguous(), dst=0)
        elif self.world.leads:
            dist.recv(whole, src=owner)


class _Stage(nn.Module):
    """What one process computes of each small batch: `received` are the data at first, then what the stage before gave."""

    def __init__(self, network: LanguageModel, pieces: Pieces, blocks: range, length: int, trace: Trace, *, ends: bool) -> None:
        super().__init__()
        self.network, self.blocks, self.length, self.trace, self.ends = network, blocks, length, trace, ends
        self._pieces = pieces

    def forward(self, *received: Tensor, data: Tensor, documents: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        """[b, T] data and documents → the streams, and what goes beside them; at the end, path logits."""
        stack, dtype = self.network.stack, self.network.compute_dtype
        if self.blocks.start == 0:
            x, *beside = self._pieces.enter(data, documents, self.length)
            streams = stack.opened(x)
        else:
            streams, beside = Streams(received[0], received[1]), list(received[2:])
        of_stack = self._pieces.documents(data, documents, self.length)
        streams = stack.run(streams, self.blocks, dtype=dtype, documents=of_stack)
        if not self.ends:
            return (streams.x1, streams.x2, *beside)
        logits = self._pieces.leave(stack.closed(streams, dtype), beside, data, documents, self.trace)
        return logits.contiguous()  # of a bit network they are a view, whose strides PyTorch 2.11 refuses


def shares(count: int, size: int) -> list[range]:
    """Blocks 0 … count − 1 in `size` shares as even as can be, in order."""
    cuts = [index * count // size for index in range(size + 1)]
    return [range(begin, end) for begin, end in pairwise(cuts)]


def _owners(network: LanguageModel, pieces: Pieces, size: int) -> dict[str, int]:
    """Which rank has each parameter; a network for masked predictions, which learns nothing here, is the leader's."""
    rank_of = {id(parameter): 0 for parameter in network.parameters()}
    for rank, blocks in enumerate(shares(len(network.stack.blocks), size)):
        for index in blocks:
            rank_of |= {id(parameter): rank for parameter in network.stack.blocks[index].parameters()}
    for module in pieces.after:
        rank_of |= {id(parameter): size - 1 for parameter in module.parameters()}
    return {name: rank_of[id(parameter)] for name, parameter in network.named_parameters()}
