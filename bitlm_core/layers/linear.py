"""Bias-free linear map whose fp32 weight follows the dtype of its input.

Weights stay fp32 (the optimizer needs the precision); activations may be bf16. The cast is explicit and recorded by
autograd, so gradients arrive in fp32. This is what autocast does, without its dispatch cost on small layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """y = x Wᵀ, W ~ N(0, (0.7/√in)²) or zero; x [..., in] in any float dtype, y [..., out] in the same."""

    def __init__(self, in_features: int, out_features: int, *, zero_init: bool = False) -> None:
        super().__init__(in_features, out_features, bias=False)
        # Zero output projections start every block as the identity: depth is learned, not fought.
        with torch.no_grad():
            if zero_init:
                self.weight.zero_()
            else:
                self.weight.normal_(std=0.7 * in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))
