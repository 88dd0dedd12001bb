"""What a network learns from another one: the probabilities that a teacher gives, beside the data itself.

    minimised = data_weight · nats per byte of the data + teacher_weight · KL(teacher ‖ student)

KL is in nats per byte. Where both have the distribution of a whole byte at hand (node logits, see `models.output`), it is that
of all 256 bytes; by the chain rule, p of the teacher and q of the student being the chances of a 1 at a node,

    KL = Σ_nodes reach(node) · KL(p ‖ q),    reach: the teacher's probability of a byte whose bits lead through that node

so that its gradient by a logit of the student is reach · (q − p). Networks of `bit` read a byte out bit by bit, as does context
mixing: where one of them is teacher or student it is Σ KL(p ‖ q) over the eight bits of the byte that there is, a sample of it.

G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network" (arXiv 1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.training.batches import Batch, joined


class Beliefs(NamedTuple):
    """path_logits [B, T, 8] of the bytes of a batch; nodes [B·T, 256], row by row, None where there are none."""

    path_logits: Tensor
    nodes: Tensor | None


@dataclass(frozen=True)
class Teaching:
    """ask: what the teacher believes of a batch. examples: windows that take the places of the last ones of a step's batch.

    example_share: of the rows, while the progress of the run is below `examples_until`; they come again and again in order.
    taught_from: the progress from which the teacher is asked. Before it the data alone is learned, for a third of the time.
    """

    ask: Callable[[Batch], Beliefs]
    data_weight: float
    teacher_weight: float
    examples: Batch | None = None
    example_share: float = 0.0
    examples_until: float = 0.0
    taught_from: float = 0.0

    def due(self, progress: float) -> Teaching | None:
        """Itself where the teacher is asked at that progress of the run."""
        return self if progress >= self.taught_from else None

    def shown(self, batch: Batch, *, step: int, progress: float) -> Batch:
        """The batch with the examples that are due in this step; documents must be told of both or of none."""
        count = round(self.example_share * len(batch.data))
        if self.examples is None or not count or progress >= self.examples_until:
            return batch
        chosen = (step * count + torch.arange(count)) % len(self.examples.data)
        return joined([batch.rows(slice(0, len(batch.data) - count)), self.examples.rows(chosen)])

    def loss(self, nats: Tensor, student: Beliefs, batch: Batch) -> Tensor:
        """[] what is minimised, from the data's own loss and the student's beliefs with their graph."""
        with torch.no_grad():
            teacher = self.ask(batch)
        return self.data_weight * nats + self.teacher_weight * divergence(teacher, student, batch.data).mean()


def divergence(teacher: Beliefs, student: Beliefs, data_BT: Tensor) -> Tensor:
    """[B·T] KL(teacher ‖ student) of each byte in nats: of whole bytes, or of the bits of those that there are."""
    if teacher.nodes is not None and student.nodes is not None:
        return byte_kl(teacher.nodes, student.nodes)
    return bit_kl(teacher.path_logits, student.path_logits).sum(dim=-1).flatten()


def byte_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """[..., 256] node logits of both → [...] KL of their byte distributions, in nats."""
    return (reach(teacher) * bit_kl(teacher, student)).sum(dim=-1)


def bit_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Logits of both → KL(p ‖ q) of each bit by itself, in nats: p (t − s) + softplus(s) − softplus(t)."""
    return torch.sigmoid(teacher) * (teacher - student) + F.softplus(student) - F.softplus(teacher)


def reach(nodes: Tensor) -> Tensor:
    """[..., 256] node logits → the probability of a byte whose bits lead through each node; 0 for entry 0, which is none."""
    ones = torch.sigmoid(nodes)
    levels = [torch.zeros_like(nodes[..., :1]), torch.ones_like(nodes[..., :1])]
    for depth in range(7):
        one, through = ones[..., 1 << depth : 2 << depth], levels[-1]
        levels.append(torch.stack([through * (1 - one), through * one], dim=-1).flatten(-2))
    return torch.cat(levels, dim=-1)
