"""A two-stream residual block: y1 = x1 + attention(x2), y2 = x2 + feedforward(y1); and how it is undone.

Streams are fp32; a sub-block takes its input in the dtype of the pass. With halting, positions that have halted are not moved
any more, and each layer adds its share to the output, see `halting`.

B batch, T positions, M model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.attention import SelfAttention, Sight
from bitlm_core.layers.feedforward import FeedForward
from bitlm_core.layers.halting import HaltingUnit
from bitlm_core.layers.memory import Memory
from bitlm_core.layers.reversible import Reversal, Streams, Undone, random_state, replayed


@dataclass
class Layer:
    """What one block is told in one pass. `dtype`: of the sub-blocks; `threshold`: of halting; `last`: nothing comes after.

    `replays`: dropout will have to be repeated, so the random states are noted in `random_states`. `probabilities`, `reached`:
    of halting, [B, T], noted by the forward pass. `compiled`: the sub-blocks run as `torch.compile` makes them. `skips`: it is
    not computed where all positions have halted.
    """

    sight: Sight
    memory: Memory | None
    dtype: torch.dtype
    threshold: float
    last: bool
    replays: bool
    compiled: bool = False
    skips: bool = True
    random_states: list[Tensor] = field(default_factory=list)
    probability: Tensor | None = None
    reached: Tensor | None = None

    def all_halted(self, streams: Streams) -> bool:
        """Whether no position needs this layer, so that it is not computed."""
        return self.skips and streams.spent is not None and bool((streams.spent >= self.threshold).all())


@cache
def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function as `torch.compile` makes it, once: blocks of the same shapes share the compiled code."""
    return torch.compile(function, dynamic=False)


class Block(nn.Module):
    """Attention and feed-forward, each with its own norm inside. `act`: with a halting unit."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, *, differential_layer: int | None, act: bool
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = SelfAttention(d_model, nhead, differential_layer=differential_layer)
        self.feedforward = FeedForward(d_model, dim_feedforward)
        self.halting = HaltingUnit(d_model) if act else None

    def forward(self, streams: Streams, layer: Layer, reversal: Reversal | None = None) -> Any:
        """The streams after the block; with a reversal, what was before it: `Undone`."""
        return self._compute(streams, layer) if reversal is None else self._undo(streams, layer, reversal)

    def _compute(self, streams: Streams, layer: Layer) -> Streams:
        moving = self._moving(streams.spent, layer)
        x1 = streams.x1 + self._attend(streams.x2, layer, moving, notes=True)
        x2 = streams.x2 + self._transform(x1, layer, moving, notes=True)
        if self.halting is None:
            return Streams(x1, x2)
        assert streams.out is not None and streams.spent is not None and streams.remainder is not None  # noqa: S101
        halt = self.halting(x1 + x2, streams.spent, threshold=layer.threshold, last=layer.last)
        layer.probability, layer.reached = halt.probability.detach(), streams.spent.detach() < layer.threshold
        return Streams(x1, x2, streams.out + halt.weighted, halt.spent, streams.remainder + halt.remainder)

    def _undo(self, after: Streams, layer: Layer, reversal: Reversal) -> Undone:
        x1, x2, (g1, g2, *g_halt) = after.x1, after.x2, reversal.grads
        moving, states = self._moving(reversal.spent_before, layer), reversal.random_states or (None, None)
        found: dict[int, Tensor | None] = {}

        def gradients(run: Callable[..., Any], inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]) -> Any:
            return _gradients(run, inputs, grads, reversal.parameters, found)

        if self.halting is not None:
            halting, threshold, last = self.halting, layer.threshold, layer.last
            _, (g_state, g_halt[1]) = gradients(
                lambda state, spent: halting(state, spent, threshold=threshold, last=last)[:3],
                (x1 + x2, cast(Tensor, reversal.spent_before)),
                cast("tuple[Tensor, ...]", tuple(g_halt)),
            )
            g1, g2 = g1 + g_state, g2 + g_state
        with replayed(states[1], x1.device):
            moved, (grad,) = gradients(lambda x: (self._transform(x, layer, moving),), (x1,), (g2,))
        x2.sub_(moved)
        g1 = g1.add_(grad)
        with replayed(states[0], x1.device):
            moved, (grad,) = gradients(lambda x: (self._attend(x, layer, moving),), (x2,), (g1,))
        x1.sub_(moved)
        g2 = g2.add_(grad)
        before = Streams(x1, x2, None, reversal.spent_before)
        parameter_grads = tuple(found.get(id(parameter)) for parameter in reversal.parameters)
        return Undone(before, Streams(g1, g2, *g_halt), parameter_grads)

    def remember(self, streams: Streams, layer: Layer) -> None:
        """Note keys and values of positions that have halted before this layer, for later ones that have not."""
        if layer.memory is not None:
            self.attention.remember(streams.x2.to(layer.dtype), layer.sight, layer.memory)

    def _attend(self, x: Tensor, layer: Layer, moving: Tensor | None, *, notes: bool = False) -> Tensor:
        if layer.compiled and layer.memory is None:
            added = compiled(SelfAttention.forward)(self.attention, x.to(layer.dtype), layer.sight)
        else:
            added = self.attention(x.to(layer.dtype), layer.sight, layer.memory)
        return self._dropped(added, layer, moving, notes=notes)

    def _transform(self, x: Tensor, layer: Layer, moving: Tensor | None, *, notes: bool = False) -> Tensor:
        run = compiled(FeedForward.forward) if layer.compiled else FeedForward.forward
        x = x.to(layer.dtype)
        if moving is None or not self.training:
            added = run(self.feedforward, x)
        else:
            # Answers compute all positions: how many rows a product has may move the last bit of each.
            places = moving.squeeze(-1).nonzero(as_tuple=True)
            added = torch.zeros_like(x).index_put(places, self.feedforward(x[places]))
        return self._dropped(added, layer, moving, notes=notes)

    def _dropped(self, added: Tensor, layer: Layer, moving: Tensor | None, *, notes: bool) -> Tensor:
        if self.dropout and self.training:
            if notes and layer.replays:
                layer.random_states.append(random_state(added.device))
            added = F.dropout(added, self.dropout)
        return added if moving is None else added * moving.to(added.dtype)

    @staticmethod
    def _moving(spent: Tensor | None, layer: Layer) -> Tensor | None:
        """[B, T, 1] True where a position has not halted; None where none can have."""
        return None if spent is None else (spent < layer.threshold)[..., None]


def _gradients(
    run: Callable[..., tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
    parameters: tuple[nn.Parameter, ...],
    found: dict[int, Tensor | None],
) -> tuple[Tensor, list[Tensor]]:
    """Compute again, with a graph: the first output, and the gradients of the inputs.

    Those of the parameters are added to `found`, or, where none are named, to their `.grad`.
    """
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in inputs]
        outputs = run(*leaves)
    wanted = [(out, grad.to(out.dtype)) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad]
    outs, grads = tuple(out for out, _ in wanted), tuple(grad for _, grad in wanted)
    if not parameters:
        torch.autograd.backward(outs, grads)
        return outputs[0].detach(), [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    computed = torch.autograd.grad(outs, [*leaves, *parameters], grads, allow_unused=True)
    for parameter, grad in zip(parameters, computed[len(leaves) :], strict=True):
        known = found.get(id(parameter))
        if grad is not None:
            found[id(parameter)] = grad if known is None else known + grad
    ours = zip(leaves, computed[: len(leaves)], strict=True)
    return outputs[0].detach(), [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in ours]
