"""Feed-forward sub-block with squared ReLU (arXiv 2109.08668): out = W₂ relu(W₁ norm(x))²."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.linear import Linear
from bitlm_core.layers.norm import norm


class SquaredReLU(torch.autograd.Function):
    """relu(x)². One function, because it keeps one tensor for backward where the composition keeps two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rectified = F.relu(x)
        ctx.save_for_backward(rectified)
        return rectified * rectified

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (rectified,) = ctx.saved_tensors
        return grad.mul(rectified).mul_(2)


class FeedForward(nn.Module):
    """Pre-normalised feed-forward sub-block: returns what is added to the residual stream, [..., M] → [..., M]."""

    def __init__(self, d_model: int, dim_feedforward: int) -> None:
        super().__init__()
        self.up = Linear(d_model, dim_feedforward)
        self.down = Linear(dim_feedforward, d_model, zero_init=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(SquaredReLU.apply(self.up(norm(x))))  # type: ignore[no-any-return,no-untyped-call]
