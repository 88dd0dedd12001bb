"""Muon with a polynomial of its own for each step of its orthogonalisation.

`torch.optim.Muon` has one for all, and needs five steps where four come nearer; on a CPU these products are a fifth of a
training step. Matrices of one shape go in one batch, which saves a little more. The update is the same:

    B ← μB + (1 − μ)g;   u = (1 − μ)g + μB;   W ← (1 − ηλ)W − η √max(1, rows/columns) · NewtonSchulz(u)

https://kellerjordan.github.io/posts/muon; polynomials as in arXiv 2505.16932.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Polynomial = tuple[float, float, float]
POLAR: tuple[Polynomial, ...] = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Muon):
    """Takes what `torch.optim.Muon` takes, and keeps the same state. `polynomials`: one per step, instead of one for all."""

    def __init__(self, params: Any, *, polynomials: Sequence[Polynomial] | None = None, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._polynomials = polynomials

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; `closure` must be None."""
        if closure is not None:
            raise TypeError("Muon.step computes no loss: call backward first, and step without a closure")
        for group in self.param_groups:
            polynomials = self._polynomials or [group["ns_coefficients"]] * group["ns_steps"]
            for parameters in self._at_once([parameter for parameter in group["params"] if parameter.grad is not None]):
                moves = self._orthogonalised(self._updates(parameters, group), parameters, polynomials, group["eps"])
                for (rows, columns), numbers in by_shape(parameters).items():
                    held = [self._held(parameters[number]) for number in numbers]
                    torch._foreach_mul_(held, 1 - group["lr"] * group["weight_decay"])
                    rate = group["lr"] * max(1, rows / columns) ** 0.5
                    torch._foreach_add_(held, [moves[number].float() for number in numbers], alpha=-rate)

    def _updates(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """What is to be orthogonalised: gradients and those of earlier steps, as much of each as this process has."""
        grads = [self._held(parameter.grad) for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self._held(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        return list(torch._foreach_lerp(grads, momenta, group["momentum"])) if group["nesterov"] else momenta

    # Where several processes share a training, these are not what they are here

    def _at_once(self, parameters: list[Tensor]) -> list[list[Tensor]]:
        """Which are updated together: few, so that what is made of them stays in the caches."""
        return [[parameters[number] for number in numbers] for numbers in by_shape(parameters).values()]

    def _held(self, tensor: Tensor) -> Tensor:
        """What this process has of a tensor."""
        return tensor

    def _orthogonalised(
        self, updates: list[Tensor], parameters: list[Tensor], polynomials: Sequence[Polynomial], eps: float
    ) -> list[Tensor]:
        """Each update made orthogonal, in bf16: as much of it as this process has of the parameter."""
        found = [torch.empty(0)] * len(updates)
        for numbers in by_shape(parameters).values():
            made = orthogonalised(torch.stack([updates[number] for number in numbers]), polynomials, eps)
            for number, matrix in zip(numbers, made, strict=True):
                found[number] = matrix
        return found


def by_shape(matrices: Sequence[Tensor]) -> dict[torch.Size, list[int]]:
    """The numbers of those that have the same shape."""
    found: dict[torch.Size, list[int]] = {}
    for number, matrix in enumerate(matrices):
        found.setdefault(matrix.shape, []).append(number)
    return found


def orthogonalised(matrices: Tensor, polynomials: Sequence[Polynomial], eps: float) -> Tensor:
    """[N, rows, columns] → nearly orthogonal matrices of the same singular vectors, in bf16: Newton–Schulz, quintic."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for a, b, c in polynomials:
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
