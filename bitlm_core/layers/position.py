"""Positions: rotary (in attention) or sinusoidal (added to the embedding). Tables are derived, never saved.

Rotary (arXiv 2104.09864): pairs (x_i, x_{i+d/2}) are turned by the angle t·base^(−2i/d). Scores depend on distances alone,
so positions may run on for ever.
Sinusoidal (arXiv 1706.03762): PE(t, 2i) = sin(t·base^(−2i/D)), PE(t, 2i+1) = cos(same).

B batch, T positions, H heads, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def rotary_table(positions_T: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin of any positions, each [T, head_dim], fp32."""
    frequency = BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions_T.device) / head_dim)
    angle = torch.outer(positions_T.double(), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos().float(), angle.sin().float()


def apply_rotary(x_BTHD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Turn queries or keys by their positions."""
    first, second = x_BTHD.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return torch.addcmul(x_BTHD * cos_TD[:, None], turned, sin_TD[:, None])


def sinusoidal_table(num_positions: int, d_model: int) -> Tensor:
    """[num_positions, d_model]."""
    frequency = BASE ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequency)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
