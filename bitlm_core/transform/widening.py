"""Twice the width without another function: every activation twice, side by side, and weights divided between the copies.

    repeated   what makes an activation makes it twice: rows of matrices, columns of embeddings; x → (x, x)
    divided    what reads it has each weight in two parts that sum to it exactly: w x = w₀ x + w₁ x,  w = w₀ + w₁

Normalisation sees the same mean and variance, heads double in number and stay as wide, so every logit stays what it was but
for rounding. The parts are unequal at random: gradients of the two copies differ, so that they learn apart (Net2Net, arXiv
1511.05641).

An activation's copies share its gradient g, each about g/2. So moments of what is repeated are halved (of squares: quartered)
and those of what is only divided stay. For Muon that is exact: half an orthogonal matrix in each of four places moves the
function as the whole one did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

SPREAD = 0.25
"""Parts are between ½ − SPREAD and ½ + SPREAD of a weight. With at most ¼ or so their sum is exact."""


class Role(NamedTuple):
    """How one parameter is widened. rows: groups of rows, each of which is repeated by itself; 0: there are no more rows.

    columns: what becomes of the last dimension.
    """

    rows: int
    columns: str | None


def role_of(name: str, slots: int) -> Role:
    """Of the parameter of that name. slots: of patches, see `layers.patches`."""
    module, _, leaf = name.rpartition(".")
    owner, part = module.rpartition(".")[::2]
    if leaf in ("bias", "vectors"):
        return Role(0, None)
    if leaf == "decay" or part.endswith("embedding"):
        return Role(0, "repeated")
    if part in ("head", "halting"):
        return Role(0, "divided")
    if part == "key_value":
        return Role(2 * slots if owner.endswith("reading") else 2, "divided")
    return Role(3 if part == "qkv" else 1, "divided")


def widened_weights(weights: Mapping[str, Tensor], slots: int, seed: int) -> dict[str, Tensor]:
    """Parameters by name, of twice the width."""
    generator = torch.Generator().manual_seed(seed)
    widened = {}
    for name, value in weights.items():
        role = role_of(name, slots)
        value = _repeated(value, role)
        widened[name] = _divided(value, generator) if role.columns == "divided" else value
    return widened


def widened_moments(moments: Mapping[str, Tensor], slots: int) -> dict[str, Tensor]:
    """What optimizers keep, by `<parameter>/<name>`, as the widened parameters would have it."""
    return {path: _widened_moment(path, value, slots) for path, value in moments.items()}


def _widened_moment(path: str, value: Tensor, slots: int) -> Tensor:
    name, _, key = path.rpartition("/")
    role = role_of(name, slots)
    share = 0.5 if role.rows or role.columns == "repeated" else 1.0
    if key == "step":
        return value.clone()
    if key == "sum":  # of squares, one for each row of a table
        return value * share**2
    value = _repeated(value, role)
    if role.columns == "divided":
        value = torch.cat([value, value], dim=-1)
    return value * (share**2 if key == "exp_avg_sq" else share)


def _repeated(value: Tensor, role: Role) -> Tensor:
    if role.rows:
        value = torch.cat([value.view(role.rows, -1, value.shape[1])] * 2, dim=1).flatten(0, 1)
    return torch.cat([value, value], dim=-1) if role.columns == "repeated" else value


def _divided(value: Tensor, generator: torch.Generator) -> Tensor:
    """Two unequal parts, the larger one on either side by chance; what is left of the larger one is the other, exactly."""
    random = torch.rand((2, *value.shape), generator=generator).to(value.device)
    larger = value * (0.5 + SPREAD * random[0])
    swapped = random[1] < 0.5
    smaller = value - larger
    return torch.cat([torch.where(swapped, smaller, larger), torch.where(swapped, larger, smaller)], dim=-1)
