"""Masking bytes or bits for training, and the weight that makes the loss a bound.

n of the N units of each row are hidden, n uniform on 1 … N (stratified over the batch); a unit is a byte, or one bit of it. The
estimate

    nats per unit ≤ E_n [ (1/n) Σ_{hidden} −ln p(unit | visible) ]

is the any-order form of MDLM's bound (arXiv 2406.07524, eq. 11): the same expectation as the weight −α′/(1−α) under any
schedule, with less variance because n is exact. B batch, T bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitlm_core.diffusion.schedule import WHOLE_BYTES, Masking
from bitlm_core.models.output import conditioned_log_probs, path_bits, path_logits, path_nats

_LEAST = 1e-30  # a probability below which a bit's is not told apart from 0


class Corruption(NamedTuple):
    """known [B, T]: the bits known of each byte, as `predict_masked` takes them. num_hidden [B]: units of each row."""

    known: Tensor
    num_hidden: Tensor


def hide(data_BT: Tensor, generator: torch.Generator, masking: Masking = WHOLE_BYTES) -> Corruption:
    """Hide at least one unit of each row; on the CPU, for that is where the generator is."""
    B, T = data_BT.shape
    quantile_B = (torch.arange(B) + torch.rand(B, generator=generator)) / B
    return hide_share(T, masking.least + (1 - masking.least) * quantile_B, generator, masking)


def hide_share(num_bytes: int, share_B: Tensor, generator: torch.Generator, masking: Masking = WHOLE_BYTES) -> Corruption:
    """Rows of so many bytes, of each the given share of all units hidden, 0 ≤ share < 1, rounded up to a whole unit."""
    B, units = len(share_B), num_bytes * masking.units_per_byte
    count_B = (share_B * units).long().clamp(max=units - 1) + 1
    rank = torch.rand(B, units, generator=generator).argsort(dim=1).argsort(dim=1)
    known = rank >= count_B[:, None]
    if masking.unit == "byte":
        return Corruption(255 * known, count_B)
    shift = torch.arange(7, -1, -1)
    return Corruption((known.view(B, num_bytes, 8).long() << shift).sum(dim=-1), count_B)


def hidden_nats(nodes_BTN: Tensor, data_BT: Tensor, known_BT: Tensor, masking: Masking) -> Tensor:
    """[B, T] −ln p summed over each byte's hidden units, every unit by itself; 0 for bytes of which nothing is hidden."""
    if masking.unit == "byte":
        return path_nats(path_logits(nodes_BTN, data_BT), data_BT) * (known_BT == 0)
    places = (known_BT != 255).nonzero(as_tuple=True)
    data, known = data_BT[places], known_BT[places]
    probs = conditioned_log_probs(nodes_BTN[places], data, known).exp()
    ones = path_bits(torch.arange(256, device=data.device)).to(probs.dtype)
    right = torch.where(path_bits(data) == 1, probs @ ones, probs @ (1 - ones))
    nats = (-right.clamp(min=_LEAST).log() * (path_bits(known) == 0)).sum(dim=-1)
    return torch.zeros(data_BT.shape, dtype=nats.dtype, device=nats.device).index_put(places, nats)


def bound_nats(nats_BT: Tensor, count_B: Tensor, masking: Masking = WHOLE_BYTES) -> Tensor:
    """[B] nats per byte, an upper bound in the mean: of what the hidden units of each row cost, `hidden_nats`."""
    return nats_BT.sum(dim=1) / count_B.to(nats_BT.device) * masking.units_per_byte
