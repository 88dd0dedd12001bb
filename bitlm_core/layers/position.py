"""Positions: rotary (in attention) or sinusoidal (added to the embedding). Tables are derived, never saved.

Rotary (arXiv 2104.09864): pairs (x_i, x_{i+d/2}) are turned by the angle t·base^(−2i/d). Scores depend on distances alone,
so positions may run on for ever.
Sinusoidal (arXiv 1706.03762): PE(t, 2i) = sin(t·base^(−2i/D)), PE(t, 2i+1) = cos(same).

B batch, T positions, H heads, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5
"""Of the normalisation, as everywhere: the default of PyTorch."""
BASE = 10_000.0


def rotary_table(positions_T: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin of any positions, each [T, head_dim], fp32."""
    frequency = BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions_T.device) / head_dim)
    angle = torch.outer(positions_T.double(), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().float(), angle.sin().float()


class NormedRotary(torch.autograd.Function):
    """Queries and keys normalised over D and turned by their positions: [B, T, 2H, D] → two of [B, H, T, D].

    One function, because the composition makes and keeps three times as many tensors, and because it can write what attention
    wants, heads before positions, without a further copy.
    """

    @staticmethod
    def forward(ctx: Any, qk: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> tuple[Tensor, Tensor]:
        normed, mean, rstd = torch.native_layer_norm(qk, [qk.shape[-1]], None, None, EPSILON)
        ctx.save_for_backward(qk, mean, rstd, cos_TD, sin_TD)
        q, k = normed.transpose(1, 2).chunk(2, dim=1)
        return _turned(q, cos_TD, sin_TD, 1.0), _turned(k, cos_TD, sin_TD, 1.0)

    @staticmethod
    def backward(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor, None, None]:
        qk, mean, rstd, cos_TD, sin_TD = ctx.saved_tensors
        grad = torch.empty_like(qk)
        for part, own in zip(grad.transpose(1, 2).chunk(2, dim=1), (grad_q, grad_k), strict=True):
            _turned(own, cos_TD, sin_TD, -1.0, out=part)
        keep = [True, False, False]
        (back, _, _) = torch.ops.aten.native_layer_norm_backward(grad, qk, [qk.shape[-1]], mean, rstd, None, None, keep)
        return back, None, None


def _turned(x: Tensor, cos_TD: Tensor, sin_TD: Tensor, direction: float, out: Tensor | None = None) -> Tensor:
    """[B, H, T, D] turned by each position's angles, forwards or backwards."""
    half = x.shape[-1] // 2
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    torch.mul(x, cos_TD, out=out)
    out[..., :half].addcmul_(x[..., half:], sin_TD[:, :half], value=-direction)
    out[..., half:].addcmul_(x[..., :half], sin_TD[:, half:], value=direction)
    return out


def sinusoidal_table(num_positions: int, d_model: int) -> Tensor:
    """[num_positions, d_model]."""
    frequency = BASE ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequency)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
