"""Adaptive computation time over layers (ACT, arXiv 1603.08983): easy positions stop early.

After layer l, with s the state there, p_l = sigmoid(w_l·norm(s) + b_l). A position halts at the first layer N where
Σ p ≥ threshold (or at the last); its output is Σ_{l<N} p_l s_l + R s_N with the remainder R = 1 − Σ_{l<N} p_l, so the weights
sum to 1. Its ponder cost is N + R, of which R has a gradient. From then on its state stays as it is, and where all positions
have halted the layers left are not computed.

B batch, T positions, M model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bitlm_core.layers.norm import norm
from bitlm_core.layers.probe import Probe

SAMPLED_BYTES = 64
"""For so many bytes of a training step the whole predicted distribution is kept."""
Number = TypeVar("Number", int, float)
INITIAL_BIAS = -2.0
"""A fresh unit halts with probability 0.12, so at first nearly all of the weight is on the last layer."""


class Halt(NamedTuple):
    """What one layer adds. weighted [B, T, M]: to the output; spent [B, T]: Σ p after it, 1 where halted; remainder [B, T]:
    R where a position halted here, else 0; probability [B, T]: p where it was still active, else 0."""

    weighted: Tensor
    spent: Tensor
    remainder: Tensor
    probability: Tensor


class HaltingUnit(nn.Module):
    """One layer's decision whether to go on."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d_model))
        self.bias = nn.Parameter(torch.full((), INITIAL_BIAS))

    def forward(self, state_BTM: Tensor, spent_BT: Tensor, *, threshold: float, last: bool) -> Halt:
        active = spent_BT < threshold
        p = torch.sigmoid(norm(state_BTM) @ self.weight + self.bias)
        halts = active & (torch.ones_like(active) if last else spent_BT + p >= threshold)
        left = 1 - spent_BT
        weight = torch.where(halts, left, torch.where(active, p, 0.0))
        spent = torch.where(halts, 1.0, torch.where(active, spent_BT + p, spent_BT))
        return Halt(weight[..., None] * state_BTM, spent, torch.where(halts, left, 0.0), torch.where(active, p, 0.0))


def spread(rows: Tensor, most: int) -> Tensor:
    """[N, ...] → at most so many of the rows, evenly spread over all."""
    stride = max(1, -(-len(rows) // most))
    return rows[stride // 2 :: stride]


@dataclass
class Trace:
    """What a pass tells about itself; empty until then, and but for `nodes` and `probe` for stacks without halting.

    nodes: [n, 256] node logits of some bytes, where the model has them at hand, see `sample_nodes`.
    graph_bytes: asks for those of so many bytes with their graph, in `graph_nodes`, for a loss that is made of them.
    probe: asks for a look at each layer; for passes without gradients.
    halt_probs: of each layer, the mean halting probability of the positions that reached it (0 where none did).
    mean_layers: layers per position. layers_computed: how many were computed at all. ponder: [] mean of N + R.
    A pass in several pieces tells of all of them. `counted` [B, T]: which positions of the next piece there really are.
    positions, reached, spent, remainder: how many positions, Σ over them of layers and p by layer, and their mean R.
    starts: [B, T] bool, of byte-latent models: where patches start among the bytes that were read.
    """

    halt_probs: tuple[float, ...] = ()
    mean_layers: float = 0.0
    layers_computed: int = 0
    ponder: Tensor | None = None
    nodes: Tensor | None = None
    probe: Probe | None = None
    graph_bytes: int = 0
    graph_nodes: Tensor | None = None
    starts: Tensor | None = None
    counted: Tensor | None = None
    positions: int = 0
    reached: tuple[int, ...] = ()
    spent: tuple[float, ...] = ()
    remainder: Tensor | None = None

    def sample_nodes(self, nodes_BTV: Tensor) -> None:
        """Keep those of at most `SAMPLED_BYTES` bytes, evenly spread over all rows: copied, so that the rest can go."""
        self.nodes = spread(nodes_BTV.detach().flatten(0, 1), SAMPLED_BYTES).clone()
        if self.graph_bytes:
            self.graph_nodes = spread(nodes_BTV.flatten(0, 1), self.graph_bytes)

    def note(self, probabilities: list[Tensor], reached: list[Tensor], remainder: Tensor, num_layers: int) -> None:
        """Add a piece of a pass: per computed layer [B, T] probabilities and which positions reached it; R [B, T]."""
        if self.counted is not None:
            probabilities = [layer[self.counted] for layer in probabilities]
            reached, remainder = [layer[self.counted] for layer in reached], remainder[self.counted]
        left = [0] * (num_layers - len(reached))
        self.reached = _added(self.reached, (*(int(layer.sum()) for layer in reached), *left))
        self.spent = _added(self.spent, (*(float(layer.sum()) for layer in probabilities), *map(float, left)))
        self.halt_probs = tuple(p / max(1, count) for p, count in zip(self.spent, self.reached, strict=True))
        self.positions += remainder.numel()
        share = remainder.numel() / self.positions
        mean = remainder.mean()
        self.remainder = mean if self.remainder is None else (1 - share) * self.remainder + share * mean
        self.mean_layers = sum(self.reached) / self.positions
        self.layers_computed = max(self.layers_computed, len(reached))
        self.ponder = self.mean_layers + self.remainder


def _added(sums: tuple[Number, ...], more: tuple[Number, ...]) -> tuple[Number, ...]:
    return tuple(one + other for one, other in zip(sums, more, strict=True)) if sums else more
