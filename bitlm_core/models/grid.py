"""Weights on a grid: what the matrices and tables of a quantised network are made of, and how they are packed.

    int8    W[r, i] = s[r] · c[r, i],                 c whole, |c| ≤ 126
    int4    W[r, i] = s[r] · m[r, i // 32] · q[r, i],   q whole, |q| ≤ 7; m whole, 1 … 18

s is a bf16 number, so both products are exact in fp32. The largest weight of a row is ±126 s. So scales and codes follow from
the weights themselves, exactly: a quantised network is one of ordinary fp32 weights that lie on the grid, which everything
computes with as it does with others, and that a checkpoint packs without a loss. And because an int4 weight is an int8 weight
of the same row too (7 · 18 = 126), the decoding kernels run both on the same integers.

Norms have no weights here; vectors and scalars stay as they are. In int4 networks the head and the embeddings of symbols, a few
hundred rows, stay int8. R rows, D columns, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bitlm_core.errors import ModelStateError
from bitlm_core.models.config import Quantized

LARGEST, LEVELS, GROUP = 126, 7, 32
MULTIPLES = LARGEST // LEVELS
LEAST, MOST = 1e-30, 1e30
"""Rows that are smaller than this become zeros; larger weights are no trained network's."""


class Codes(NamedTuple):
    """What a matrix is packed as: scales bf16 [R]; codes int8 [R, D], or two to a byte, uint8 [R, ⌈D / 2⌉], the first one low,
    with the multiples uint8 [R, G] of their groups."""

    scales: Tensor
    codes: Tensor
    multiples: Tensor | None = None


def kind_of(name: str, parameter: Tensor, quantized: Quantized) -> Quantized | None:
    """How the parameter of that name is packed in a network so quantised; None: not at all."""
    if parameter.dim() != 2 or name.endswith(".vectors"):
        return None
    module, _, _ = name.rpartition(".")
    return "int8" if module.endswith(("head", "embedding")) and not is_table(parameter) else quantized


def is_table(parameter: Tensor) -> bool:
    """Whether it has more rows than there are symbols."""
    return len(parameter) > 258


def on_grid(weight: Tensor, kind: Quantized) -> Tensor:
    """The nearest weights [R, D] that are on the grid. What is on the int8 grid stays as it is."""
    scale = row_scales(weight)
    codes = _whole(weight, scale[:, None], LARGEST)
    if kind == "int8":
        return codes * scale[:, None]
    groups = _grouped(weight)
    largest, top = groups.abs().amax(dim=2), weight.abs().amax(dim=1, keepdim=True)
    multiples = (largest / (LEVELS * _divisor(scale))[:, None]).ceil().clamp(1, MULTIPLES)
    multiples = torch.where(largest == top, float(MULTIPLES), multiples)  # so that the row's scale can be told again
    step = (multiples * scale[:, None])[:, :, None]
    return (_whole(groups, step, LEVELS) * step).flatten(1)[:, : weight.shape[1]]


def row_scales(weight: Tensor) -> Tensor:
    """[R] what one unit of each row stands for; 0 where the row is nothing. fp32 that bf16 holds."""
    largest = weight.abs().amax(dim=1)
    scale = (largest / LARGEST).bfloat16().float()
    return scale.masked_fill(largest < LEAST, 0.0)


def row_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales [R] and whole numbers [R, D] within ±126, in fp32, whose product is the weight where that is on the grid, and the
    nearest on the int8 grid elsewhere."""
    scale = row_scales(weight)
    return scale, _whole(weight, scale[:, None], LARGEST)


def packed_codes(name: str, weight: Tensor, kind: Quantized) -> Codes:
    """The weight of that name, packed. Raises ModelStateError where it is not on the grid."""
    scale, whole = row_codes(weight)
    if not torch.equal(whole * scale[:, None], weight):
        raise _off(name)
    if kind == "int8":
        return Codes(scale.bfloat16(), whole.to(torch.int8))
    groups = _grouped(whole).to(torch.int16).numpy()
    largest = np.abs(groups).max(axis=2)
    multiples = _MULTIPLE_OF[np.gcd.reduce(groups, axis=2), -(-largest // LEVELS)]
    if not multiples.all():
        raise _off(name)
    codes = torch.from_numpy(groups // multiples[:, :, None]).flatten(1)[:, : weight.shape[1]]
    return Codes(scale.bfloat16(), _two_in_a_byte(codes), torch.from_numpy(multiples.astype(np.uint8)))


def unpacked_weight(packed: Codes, columns: int) -> Tensor:
    """The weight [R, D] again, bit for bit. Raises ValueError for codes that no weight is packed as."""
    scale, codes = packed.scales.float(), packed.codes
    if packed.multiples is not None:
        groups = _grouped(_one_in_a_byte(codes)[:, :columns]).to(torch.int16)
        codes = (groups * packed.multiples.to(torch.int16)[:, :, None]).flatten(1)[:, :columns]
    whole = codes.float()
    if not torch.equal(whole.abs().amax(dim=1), torch.where(scale > 0, float(LARGEST), 0.0)):
        raise ValueError(f"codes of a row whose largest is not {LARGEST}, or a negative scale")
    return whole * scale[:, None]


def quantized_parameters(model: nn.Module, quantized: Quantized) -> Iterator[tuple[str, nn.Parameter, Quantized]]:
    """Name, parameter and kind of all that a network so quantised has on the grid."""
    for name, parameter in model.named_parameters():
        kind = kind_of(name, parameter, quantized)
        if kind is not None:
            yield name, parameter, kind


@torch.no_grad()
def put_on_grid(model: nn.Module, quantized: Quantized) -> None:
    """Round a network's weights in place. Raises ModelStateError, before anything is changed, where they cannot be."""
    check_roundable(model)
    for _, parameter, kind in quantized_parameters(model, quantized):
        parameter.copy_(on_grid(parameter, kind))


@torch.no_grad()
def check_roundable(model: nn.Module) -> None:
    """Raise ModelStateError for weights that are not finite, or larger than any that were trained."""
    for name, parameter in model.named_parameters():
        if not bool((parameter.abs() < MOST).all()):
            raise ModelStateError(
                f"{name} has weights that are not finite or above {MOST:g}, so the network has diverged: load an earlier "
                "checkpoint, and train it with a smaller rate"
            )


def _whole(values: Tensor, step: Tensor, most: int) -> Tensor:
    return (values / _divisor(step)).round().clamp(-most, most) + 0.0  # no −0, whose bits would be others


def _divisor(step: Tensor) -> Tensor:
    """Of rows that are nothing, anything will do."""
    return step.masked_fill(step == 0, 1.0)


def _grouped(matrix: Tensor) -> Tensor:
    """[R, D] → [R, G, 32], with zeros behind the last column."""
    groups = -(-matrix.shape[1] // GROUP)
    return F.pad(matrix, (0, groups * GROUP - matrix.shape[1])).view(len(matrix), groups, GROUP)


def _two_in_a_byte(codes: Tensor) -> Tensor:
    nibbles = F.pad(codes, (0, codes.shape[1] % 2)).to(torch.uint8) & 15
    return nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)


def _one_in_a_byte(packed: Tensor) -> Tensor:
    """[R, 2 · bytes] int8 within −8 … 7."""
    nibbles = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1).to(torch.int8)
    return nibbles - ((nibbles & 8) << 1)


def _multiples() -> NDArray[np.int16]:
    """[127, 19]: by the greatest common divisor of a group and what its multiple must reach, the multiple; 0: none."""
    table = np.zeros((LARGEST + 1, MULTIPLES + 1), np.int16)
    table[0] = 1  # a group of zeros
    for divisor in range(1, LARGEST + 1):
        for least in range(MULTIPLES + 1):
            table[divisor, least] = next((m for m in range(max(1, least), MULTIPLES + 1) if divisor % m == 0), 0)
    return table


_MULTIPLE_OF = _multiples()


def _off(name: str) -> ModelStateError:
    return ModelStateError(
        f"{name} was changed after the model was quantised, and no longer lies on its grid: quantise it again, or save it "
        "unquantised",
        parameter=name,
    )
