"""Weights on the grid: how far they are rounded, and that what is packed comes back bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bitlm_core import ModelStateError
from bitlm_core.models import grid
from bitlm_core.models.grid import Codes, on_grid, packed_codes, row_codes, row_scales, unpacked_weight
from tests.core.models.networks import a_model

WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=70),
    elements=st.one_of(st.just(0.0), st.floats(-(2.0**96), 2.0**96, width=32), st.floats(-1, 1, width=32)),
    fill=st.just(0.0),
)
KINDS = st.sampled_from(["int8", "int4"])


@given(WEIGHTS, KINDS)
@settings(max_examples=40, deadline=None)
def test_what_is_packed_comes_back_bit_for_bit(array: np.ndarray, kind: Any) -> None:
    rounded = on_grid(torch.from_numpy(array), kind)
    packed = packed_codes("w", rounded, kind)
    again = unpacked_weight(packed, array.shape[1])
    assert torch.equal(again.view(torch.int32), rounded.view(torch.int32))
    bits = 4 if kind == "int4" else 8
    assert packed.codes.nbytes == len(array) * -(-array.shape[1] * bits // 8)


@given(WEIGHTS, KINDS)
@settings(max_examples=40, deadline=None)
def test_no_weight_is_moved_by_more_than_half_a_step(array: np.ndarray, kind: Any) -> None:
    weight = torch.from_numpy(array)
    packed = packed_codes("w", on_grid(weight, kind), kind)
    moved = (on_grid(weight, kind).double() - weight.double()).abs()
    if kind == "int8":
        step = row_scales(weight)[:, None].expand_as(weight)
    else:
        # As wide as the group asks for, and at most one whole multiple of the row's scale more.
        group = torch.nn.functional.pad(weight, (0, -weight.shape[1] % 32)).view(len(weight), -1, 32).abs().amax(dim=2)
        wide = (group.double() / 7 + row_scales(weight).double()[:, None]) * (1 + 2**-7)
        step = wide.repeat_interleave(32, dim=1)[:, : weight.shape[1]]
    assert (moved <= step.double() / 2 + 1e-30).all()
    assert packed.scales.dtype == torch.bfloat16


def test_a_known_row_is_rounded_as_expected() -> None:
    """126 steps of 1, and a second group that is small: its multiple is ⌈20 / 7⌉ = 3."""
    row = torch.zeros(1, 40)
    row[0, :3], row[0, 32:35] = torch.tensor([126.0, 1.4, -63.2]), torch.tensor([20.0, -4.0, 1.0])
    assert on_grid(row, "int8")[0, [0, 1, 2, 32, 33, 34]].tolist() == [126, 1, -63, 20, -4, 1]
    assert on_grid(row, "int4")[0, [0, 1, 2, 32, 33, 34]].tolist() == [126, 0, -72, 21, -3, 0]
    packed = packed_codes("w", on_grid(row, "int4"), "int4")
    assert packed.multiples is not None
    assert packed.scales.tolist() == [1] and packed.multiples.tolist() == [[18, 3]]
    assert packed.codes[0, :2].tolist() == [7, 0x0C] and packed.codes[0, 16:18].tolist() == [0xF7, 0]


def test_int4_weights_are_int8_weights_of_the_same_rows() -> None:
    weight = torch.randn(50, 77, generator=torch.Generator().manual_seed(1))
    rounded = on_grid(weight, "int4")
    assert torch.equal(on_grid(rounded, "int8"), rounded)
    scale, whole = row_codes(rounded)
    assert torch.equal(whole * scale[:, None], rounded) and whole.abs().amax() == grid.LARGEST


def test_weights_that_left_the_grid_are_not_packed() -> None:
    weight = on_grid(torch.randn(4, 32, generator=torch.Generator().manual_seed(2)), "int8")
    with pytest.raises(ModelStateError, match="head was changed after"):
        packed_codes("head", weight + 1e-4, "int8")
    with pytest.raises(ModelStateError, match="no longer lies on its grid"):
        packed_codes("w", weight, "int4")  # more than seven levels on each side


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e31])
def test_weights_of_no_trained_network_are_refused_before_anything_is_rounded(value: float) -> None:
    model = a_model("byte")
    with torch.no_grad():
        model.head.weight[3, 3] = value
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelStateError, match=r"head.weight has weights that are not finite or above 1e\+30"):
        grid.put_on_grid(model, "int8")
    assert all(torch.equal(before[name].nan_to_num(), value.nan_to_num()) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "damaged",
    [
        Codes(torch.ones(1).bfloat16(), torch.tensor([[3, 4]], dtype=torch.int8)),
        Codes(torch.ones(1).bfloat16(), torch.tensor([[-128, 4]], dtype=torch.int8)),
        Codes(-torch.ones(1).bfloat16(), torch.tensor([[126, 4]], dtype=torch.int8)),
        Codes(torch.ones(1).bfloat16(), torch.tensor([[0x87]], dtype=torch.uint8), torch.tensor([[18]], dtype=torch.uint8)),
        Codes(torch.ones(1).bfloat16(), torch.tensor([[0x07]], dtype=torch.uint8), torch.tensor([[255]], dtype=torch.uint8)),
    ],
)
def test_codes_that_no_weight_is_packed_as_are_refused(damaged: Codes) -> None:
    with pytest.raises(ValueError, match="codes of a row whose largest is not 126"):
        unpacked_weight(damaged, 2)
