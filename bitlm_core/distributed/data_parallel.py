"""Every process has the whole network and computes a share of the rows; gradients are summed while backward runs.

PyTorch's DistributedDataParallel (arXiv 2006.15704) sums what is dense, in buckets; tables are joined apart (`tables`). Two
processes give bit for bit what one gives that computes the batch in two parts (`accumulation=2`).
"""

# Annotations are objects here and no text: PyTorch looks at those of `_summed`.
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from bitlm_core.distributed.tables import join_tables
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.distributed.world import World
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch
from bitlm_core.training.config import Objective, TrainingConfig
from bitlm_core.training.objective import BatchLoss, batch_loss
from bitlm_core.training.optim import is_table


class Loss(nn.Module):
    """A network whose forward pass is the loss of a batch, which is what PyTorch's wrappers want to stand around."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, part: Batch, objective: Objective, generator: torch.Generator, told: dict[str, Any]) -> BatchLoss:
        """As `batch_loss`."""
        return batch_loss(self.network, part, objective, generator, **told)


class DataParallel(SharedTrainer):
    """Of parallel='ddp'. `model` is at once what learns, in every process."""

    def __init__(self, model: LanguageModel, config: TrainingConfig, seed: int, world: World) -> None:
        super().__init__(model, config, seed, world)
        loss = Loss(model)
        apart = [name for name, _ in loss.named_parameters() if is_table(name)] + [name for name, _ in loss.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(loss, apart)  # type: ignore[no-untyped-call]
        # Layers that all positions of one process have halted before, and networks that an objective leaves out, give none.
        # And buckets stay what they are at first: a run that goes on sums in the order of one that never ended.
        self._wrapped = DistributedDataParallel(loss, find_unused_parameters=True, gradient_as_bucket_view=True)
        self._wrapped.register_comm_hook(None, _summed)

    def _loss(self, part: Batch, objective: Objective, generator: torch.Generator, **told: Any) -> BatchLoss:
        found: BatchLoss = self._wrapped(part, objective, generator, told)
        return found

    def _exchanging(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else self._wrapped.no_sync()

    def _exchanged(self, nats: float) -> float:
        join_tables(self.network)
        return super()._exchanged(nats)

    def _gather_weights(self) -> None:
        """They are all at hand."""

    def _gathered_moments(self) -> dict[str, Tensor]:
        return self._moments()


def _summed(_: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Each process weighs its rows as shares of the whole batch, so gradients are summed; PyTorch's own way is the mean."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda future: future.value()[0])
    return summed
