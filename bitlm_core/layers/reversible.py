"""Running a stack of two-stream blocks without storing what is inside: memory flat in depth.

    y1 = x1 + F(x2),  y2 = x2 + G(y1)        forward
    x2 = y2 − G(y1),  x1 = y1 − F(x2)        backward: the inputs are computed from the outputs again (arXiv 1707.04585)

One autograd Function spans the whole stack and keeps only the last pair of streams: a Function per block would keep a pair
for each. The random state of every sub-block is kept and replayed, so dropout drops the same again. Streams are fp32, for the
inversion loses what their rounding loses; the sub-blocks may compute in bf16.

Two forms give equal gradients. The explicit one is handed the parameters and returns their gradients to autograd. The nested
one calls each block a second time, as a module, with gradients beside the streams, and lets it accumulate into `.grad`
itself: what is hooked to a block's forward (as FSDP2 hooks the gathering of its parameters) then runs in backward too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Streams(NamedTuple):
    """The state between two blocks. With halting also the output so far, Σ p, and the remainders, see `halting`."""

    x1: Tensor
    x2: Tensor
    out: Tensor | None = None
    spent: Tensor | None = None
    remainder: Tensor | None = None


class Reversal(NamedTuple):
    """What a block needs to be undone: the Σ p before it, the random states of F and G, the gradients of its outputs, and
    the parameters whose gradients are wanted back (none: they are accumulated)."""

    spent_before: Tensor | None
    random_states: Sequence[Tensor]
    grads: Streams
    parameters: tuple[nn.Parameter, ...]


class Undone(NamedTuple):
    """A block undone: the streams before it, their gradients, and those of the parameters that were asked for."""

    streams: Streams
    grads: Streams
    parameter_grads: tuple[Tensor | None, ...]


class ReversibleBlock(Protocol):
    """A block that can be computed and undone."""

    def __call__(self, streams: Streams, layer: Any, reversal: Reversal | None = None) -> Any: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def remember(self, streams: Streams, layer: Any) -> None: ...


def run_reversibly(blocks: Sequence[ReversibleBlock], layers: Sequence[Any], streams: Streams, *, nested: bool) -> Streams:
    """The streams after all blocks; stops where all positions have halted. `layers[i]` is handed to block i."""
    parameters = () if nested else tuple(parameter for block in blocks for parameter in block.parameters())
    out = _ReversibleRun.apply(blocks, layers, nested, *streams, *parameters)  # type: ignore[no-untyped-call]
    return Streams(*out, *[None] * (5 - len(out)))


class _ReversibleRun(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Any, layers: Any, nested: bool, x1: Any, x2: Any, *rest: Any) -> tuple[Tensor, ...]:
        (out, spent, remainder), parameters = rest[:3], rest[3:]
        streams, before = Streams(x1, x2, out, spent, remainder), []
        for block, layer in zip(blocks, layers, strict=True):
            if layer.all_halted(streams):
                block.remember(streams, layer)
                continue
            layer.random_states.clear()
            before.append(streams.spent)
            streams = block(streams, layer)
        ctx.blocks, ctx.layers, ctx.nested, ctx.before, ctx.parameters = blocks, layers, nested, before, parameters
        ctx.save_for_backward(streams.x1, streams.x2)
        return tuple(value for value in streams if value is not None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x1, x2 = ctx.saved_tensors
        streams = Streams(x1.clone(), x2.clone())  # undone in place, and backward may run twice
        grad = Streams(*[value.clone() for value in grads], *[None] * (5 - len(grads)))
        found: dict[int, Tensor | None] = {}
        depth = len(ctx.before)
        for block, layer, spent in zip(
            reversed(ctx.blocks[:depth]), reversed(ctx.layers[:depth]), reversed(ctx.before), strict=True
        ):
            wanted = () if ctx.nested else tuple(parameter for parameter in block.parameters() if parameter.requires_grad)
            undone = block(streams, layer, Reversal(spent, layer.random_states, grad, wanted))
            streams, grad = undone.streams, undone.grads
            found |= {id(parameter): value for parameter, value in zip(wanted, undone.parameter_grads, strict=True)}
        return None, None, None, *grad, *(found.get(id(parameter)) for parameter in ctx.parameters)


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that dropout on this device draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def replayed(state: Tensor | None, device: torch.device) -> Iterator[None]:
    """While it lasts, draws come as they came after `state` was taken; afterwards as if nothing had been drawn."""
    if state is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
        yield
