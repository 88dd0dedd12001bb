"""Learning with weights that lie on a grid: the straight-through estimator (arXiv 1308.3432).

Forward and backward run with the rounded weights; the gradient that they get is applied to the exact ones, as if rounding were
the identity. So a small step is not lost, but adds up with others until a weight moves to the next place on the grid.
"""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor, nn

from bitlm_core.models.config import Quantized
from bitlm_core.models.grid import on_grid, quantized_parameters


class StraightThrough:
    """While it lasts, a network's weights are the rounded ones. Enter it around each forward and backward pass.

    Of tables with sparse gradients only the rows that the last pass has met are rounded again: nothing else has moved.
    """

    def __init__(self, model: nn.Module, quantized: Quantized) -> None:
        self._kinds = list(quantized_parameters(model, quantized))
        self._exact: dict[str, Tensor] = {}
        self._rounded: dict[str, Tensor] = {}
        self._met: dict[str, Tensor] = {}

    @torch.no_grad()
    def __enter__(self) -> None:
        for name, parameter, kind in self._kinds:
            exact = self._exact[name] = parameter.data
            if name in self._met:
                rows = self._met.pop(name)
                self._rounded[name][rows] = on_grid(exact[rows], kind)
            else:
                self._rounded[name] = on_grid(exact, kind)
            parameter.data = self._rounded[name]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, parameter, _ in self._kinds:
            parameter.data = self._exact.pop(name)
            if parameter.grad is not None and parameter.grad.is_sparse:
                self._met[name] = torch.unique(parameter.grad._indices()[0])
