"""`bitlm bench memory`: what training holds besides weights and their gradients, by depth and way to run.

Activations are the most bytes of tensors that were alive at once in one forward and backward pass, without the gradients of
the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from bitlm_core.bench.cases import Case
from bitlm_core.bench.live_bytes import LiveBytes
from bitlm_core.models.build import build_model
from bitlm_core.models.output import path_nats

SHALLOW, DEEP = 4, 24


@dataclass(frozen=True)
class Activations:
    """Bytes of activations of the network as it is, with `SHALLOW` and with `DEEP` layers."""

    case: Case
    activation_bytes: int
    shallow_bytes: int
    deep_bytes: int

    @property
    def ratio(self) -> float:
        """How memory grows with depth: 1 is flat, 6 is in proportion."""
        return self.deep_bytes / self.shallow_bytes


def activations(cases: Iterable[Case]) -> Iterator[Activations]:
    """One result per case."""
    for case in cases:
        torch.set_num_threads(case.threads)
        own, shallow, deep = (
            activation_bytes(replace(case, model=case.model.model_copy(update={"num_layers": layers})))
            for layers in (case.model.num_layers, SHALLOW, DEEP)
        )
        yield Activations(case, own, shallow, deep)


def depth_ratios(case: Case) -> tuple[float, float]:
    """Growth from `SHALLOW` to `DEEP` layers, run reversibly and plainly."""
    forms = ({"reversible": True, "use_checkpoint": False}, {"reversible": False, "use_checkpoint": False})
    reversible, plain = activations(replace(case, model=case.model.model_copy(update=form)) for form in forms)
    return reversible.ratio, plain.ratio


def activation_bytes(case: Case) -> int:
    """The most bytes at once in one forward and backward pass over a batch of random bytes."""
    model = build_model(case.model).train()
    model.compute_dtype = torch.bfloat16 if case.training.use_autocast else torch.float32
    size = (case.training.batch_size, case.model.max_bytes)
    data = torch.randint(0, 256, size, generator=torch.Generator().manual_seed(0))
    with LiveBytes() as live:
        path_nats(model.path_logits(data), data).mean().backward()  # type: ignore[no-untyped-call]
    peak: int = live.peak(without=[parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    return peak
