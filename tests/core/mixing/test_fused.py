"""Streams in the compiled kernels against PyTorch, and against themselves cut otherwise."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from bitlm_core import Engine, ModelStateError, SamplingConfig
from bitlm_core.generation.autoregressive import generate_steps
from bitlm_core.mixing import fused
from bitlm_core.mixing.expert import carried_path_logits, expert_path_logits
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.packed import open_room, packed
from tests.conftest import run
from tests.core.models.networks import T, a_model
from tests.core.models.test_forms import FORMS

DATA = np.random.default_rng(0).integers(0, 256, 5 * T // 2 + 3).astype(np.uint8)


def a_byte_model(**form: Any) -> ByteLM:
    return cast(ByteLM, a_model("byte", **form))


ODD = {"d_model": 36, "nhead": 3, "dim_feedforward": 77, "chunk_size": 10, "overlap": 4}
"""Widths that are no multiple of a vector."""


@pytest.mark.parametrize("form", [*FORMS, "odd"])
def test_every_form_agrees_with_pytorch_over_windows(form: str) -> None:
    model = a_byte_model(**FORMS.get(form, ODD))
    bulk = np.concatenate([part for _, part in expert_path_logits(model, DATA, half_overlapping(len(DATA), T))])
    np.testing.assert_allclose(FusedStreams(model).path_logits(DATA.tobytes()), bulk, rtol=0, atol=2e-6)
    narrow = FusedStreams(model, weights="int8").path_logits(DATA.tobytes())
    assert 1e-4 < np.abs(narrow - bulk).max() < 0.05


@pytest.mark.parametrize("form", [name for name in FORMS if name != "sinusoidal"])
def test_every_form_agrees_with_pytorch_carried(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_byte_model(**FORMS[form])
    near = model.carrying(12, 6)
    whole = np.concatenate([part for _, part in carried_path_logits(model, DATA, 70, near)])
    for at_once in (fused.MOST_AT_ONCE, 8):  # the second holds the angles of 32 positions, and moves on with the stream
        monkeypatch.setattr(fused, "MOST_AT_ONCE", at_once)
        monkeypatch.setattr(fused, "TURNS", 4 * at_once)
        monkeypatch.setattr("bitlm_core.models.packed_stack.TURNS", 4 * at_once)
        found = FusedStreams(model, locality=near).path_logits(DATA.tobytes())
        np.testing.assert_allclose(found, whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_bits_do_not_depend_on_how_many_positions_are_computed_together(weights: Any) -> None:
    model = a_byte_model(**ODD)
    at_once = FusedStreams(model, weights=weights)
    expected = at_once.path_logits(DATA.tobytes())
    for rows in (1, 5):
        cut = FusedStreams(model, weights=weights)
        cut._room = open_room(cut._net, cut._streams, rows)
        assert np.array_equal(cut.path_logits(DATA.tobytes()), expected)
    single = FusedStreams(model, weights=weights)
    for byte, logits in zip(DATA.tolist(), expected, strict=True):
        nodes = single.node_logits()
        assert [nodes[1 << k | byte >> (8 - k)] for k in range(8)] == logits.tolist()
        single.read(bytes([byte]))


def test_later_bytes_leave_earlier_predictions_bit_identical() -> None:
    model = a_byte_model(**FORMS["chunked"])
    before = FusedStreams(model).path_logits(DATA.tobytes())
    for place in (0, 9, T - 1, T, len(DATA) - 1):
        changed = DATA.copy()
        changed[place:] ^= 0x5A
        after = FusedStreams(model).path_logits(changed.tobytes())
        assert np.array_equal(before[:place], after[:place])
        assert before[place, 0] == after[place, 0] and not np.array_equal(before[place], after[place])


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0}], ids=str)
@pytest.mark.parametrize("mixing", [True, False])
def test_the_same_seed_draws_what_pytorch_draws(byte_engine: Engine, sampling: dict[str, Any], mixing: bool) -> None:
    """Logits differ in the seventh digit, so a byte could differ where a number falls on an edge: not with this seed."""
    mixer = byte_engine.mixer if mixing else None
    drawn = []
    for running in ("fused", "torch"):
        predictor = Predictor(byte_engine.model, mixer, adaptive=False, running=running)  # type: ignore[arg-type]
        drawn.append(run(generate_steps(predictor, b"The ", 150, SamplingConfig(seed=5, **sampling))))
        assert drawn[-1].engine == running
    assert drawn[0].data == drawn[1].data
    assert drawn[0].bits_per_byte == pytest.approx(drawn[1].bits_per_byte, abs=0.02)


def test_weights_are_packed_again_when_they_change() -> None:
    model = a_byte_model()
    first = packed(model, "float32")
    assert packed(model, "float32") is first and packed(model, "int8") is packed(model, "int8")
    before = FusedStreams(model).node_logits()
    with torch.no_grad():
        model.head.weight.mul_(2)
    assert packed(model, "float32") is not first
    np.testing.assert_allclose(FusedStreams(model).node_logits(), 2 * before, rtol=1e-6)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = a_byte_model()
    with torch.no_grad():
        model.head.weight[3, 3] = torch.nan
    with pytest.raises(ModelStateError, match="not finite"):
        FusedStreams(model)
