"""What the three ways of sharing the work have in common: the leader's half, which looks like any trainer, and the others'."""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from bitlm_core.distributed.orders import Configure, Save, Settle, Step, Stop, Term, receive, send
from bitlm_core.distributed.world import World
from bitlm_core.errors import BitLMError
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch, windows_at
from bitlm_core.training.config import TrainingConfig
from bitlm_core.training.data import ByteData
from bitlm_core.training.trainer import StepResult, Trainer


class SharedTrainer(Trainer):
    """A trainer that shares each step with those of other processes. Made in all of them at once, from the same engine.

    model: the leader's, which answers; in the others it is where the weights came from. network: what this process moves.
    """

    def __init__(self, model: LanguageModel, config: TrainingConfig, seed: int, world: World) -> None:
        self.world = world
        super().__init__(model, config, seed)

    # The leader's half

    def step(self, batch: Batch, **told: Any) -> StepResult:
        """As `Trainer.step`, with the others; all of them refuse a step whose loss is not finite, or none."""
        assert batch.starts is not None and not told["carried"]  # noqa: S101 - see `check_parallel`
        masking = told["masking"]
        order = Step(
            step=told["step"],
            starts=batch.starts.tolist(),
            length=batch.data.shape[1],
            objective=told["objective"],
            progress=told["progress"],
            passes=told["passes"],
            mask_unit=masking.unit,
            least_hidden=masking.least,
            term=Term.of(told["composite"]),
        )
        send(order)
        return self._take_part(order, batch.rows)

    def configure(self, config: TrainingConfig) -> None:
        """As `Trainer.configure`, everywhere."""
        send(Configure(training=config))
        super().configure(config)

    def settle(self) -> None:
        """Have the leader's `model` know what all have learned."""
        send(Settle(moments=False))
        self._gather_weights()

    def state(self) -> dict[str, Tensor]:
        """As `Trainer.state`, of all."""
        send(Settle(moments=True))
        self._gather_weights()
        return self._gathered_moments()

    def save_shards(self, folder: Path) -> None:
        """Everyone writes what it has, see `shards`. Raises OSError in all of them where one was refused."""
        send(Save(folder=str(folder)))
        self._save(folder)

    def stop(self) -> None:
        """Let the others go."""
        send(Stop())

    # The others' half

    def follow(self, data: ByteData) -> None:
        """Do what the leader orders, until the training is over. `data`: what the leader trains on."""
        while not isinstance(order := receive(), Stop):
            if isinstance(order, Step):
                self._follow_step(order, data)
            elif isinstance(order, Configure):
                super().configure(order.training)
            elif isinstance(order, Save):
                with suppress(OSError):  # the leader meets the same, and decides
                    self._save(Path(order.folder))
            else:
                self._gather_weights()
                if order.moments:
                    self._gathered_moments()

    def _follow_step(self, order: Step, data: ByteData) -> None:
        begins = order.begins
        try:
            self._take_part(order, lambda rows: windows_at(data, begins[rows.numpy()], order.length))
        except BitLMError:
            return  # the leader meets the same, and decides

    # Of each way

    def _take_part(self, order: Step, rows: Callable[[Tensor], Batch]) -> StepResult:
        """This process's part of a step; `rows`: some of the batch by their numbers."""
        own = self._own_rows(len(order.starts))
        return super().step(rows(own), **order.told, of_bytes=len(order.starts) * order.length)

    @property
    def _first_part(self) -> int:
        return self.world.rank * self.config.accumulation

    def _own_rows(self, count: int) -> Tensor:
        """The numbers of the rows that are computed here."""
        return torch.arange(count).tensor_split(self.world.size)[self.world.rank]

    @abstractmethod
    def _gather_weights(self) -> None:
        """Met by all: the leader's `model` learns the weights."""

    @abstractmethod
    def _gathered_moments(self) -> dict[str, Tensor]:
        """Met by all: what `Trainer.state` gives, whole; of use to the leader alone."""

    def _save(self, folder: Path) -> None:
        moments = self._moments()
        tensors = {f"model.{name}": parameter.detach() for name, parameter in self.parameters()}
        tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
        try:
            save(tensors, checkpoint_id=folder)
        except CheckpointException as refused:
            first, _ = next(iter(refused.failures.values()))
            raise first if isinstance(first, OSError) else OSError(errno.EIO, str(first)) from refused

    def _clip_together(self, grads: list[Tensor], counted: list[Tensor]) -> float:
        """As `_clip`, by the norm of what all processes have; `counted`: those that no other process counts, too."""
        squares = torch.zeros((), device=self.model.device)
        for grad in counted:
            squares += grad.square().sum()
        dist.all_reduce(squares)
        norm = squares.sqrt()
        torch._foreach_mul_(grads, (self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        return float(norm)

    def _exchanged(self, nats: float) -> float:
        total = torch.tensor([nats], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)
