"""Masking bytes for training, and the weight that makes the loss a bound.

n of the T bytes of each row are hidden, n uniform on 1 … T (stratified over the batch). The estimate

    nats per byte ≤ E_n [ (1/n) Σ_{hidden} −ln p(byte | visible) ]

is the any-order form of MDLM's bound (arXiv 2406.07524, eq. 11): the same expectation as the weight −α′/(1−α) under any
schedule, with less variance because n is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def hide_bytes(data_BT: Tensor, generator: torch.Generator) -> Tensor:
    """[B, T] True where a byte is hidden; each row hides at least one."""
    B, T = data_BT.shape
    quantile_B = (torch.arange(B) + torch.rand(B, generator=generator)) / B
    count_B = (quantile_B * T).long().clamp(max=T - 1) + 1
    rank_BT = torch.rand(B, T, generator=generator).argsort(dim=1).argsort(dim=1)
    return rank_BT < count_B[:, None]


def bound_nats(nats_BT: Tensor, hidden_BT: Tensor) -> Tensor:
    """Mean over rows of the mean −ln p over each row's hidden bytes: a scalar, nats per byte (an upper bound)."""
    return ((nats_BT * hidden_BT).sum(dim=1) / hidden_BT.sum(dim=1)).mean()
