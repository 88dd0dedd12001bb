"""What everyone reads: points as they are stored and sent, and the latest values of a model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bitlm_mcp.snapshot import OF_SOME, HistoryPoint, ModelView

PLAIN = HistoryPoint(1, 2.0, 3.0, None, 1.0, 1e-3, None, None, None)
HALTING = replace(PLAIN, step=2, halt_probs=(0.25, 0.5), mean_layers=1.5)
CUT = replace(PLAIN, step=2, patch_mean=3.5, patch_spread=2.5, patch_histogram=(1, 0, 2))
LOOKED = replace(PLAIN, step=3, bits_per_byte_held_out=2.5)


def model(*history: HistoryPoint) -> ModelView:
    return ModelView("m", "idle", 1, "byte", 1, 1, 0, 64, {}, None, history, ())


@pytest.mark.parametrize("point", [PLAIN, HALTING, CUT, LOOKED])
def test_a_point_comes_back_from_its_json(point: HistoryPoint) -> None:
    assert HistoryPoint.of(json.loads(json.dumps(point.plain()))) == point


def test_what_few_points_have_the_others_do_not_tell() -> None:
    assert PLAIN.plain()["k"] is None and not OF_SOME & PLAIN.plain().keys()
    assert HALTING.plain()["halt_probs"] == (0.25, 0.5) and "bits_per_byte_held_out" not in HALTING.plain()


@pytest.mark.parametrize("facts", [{"step": 1}, {**PLAIN.plain(), "more": 1}, {**PLAIN.plain(), "halt_probs": 5}])
def test_what_is_no_point_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        HistoryPoint.of(facts)


def test_a_model_tells_what_it_has() -> None:
    assert not OF_SOME & model().summary().keys() and not OF_SOME & model(PLAIN).summary().keys()
    halting = model(PLAIN, HALTING).summary()
    assert (halting["halt_probs"], halting["mean_layers"]) == ((0.25, 0.5), 1.5)
    cut = model(CUT, PLAIN).summary()  # measured at some steps, and the last one counts
    assert (cut["patch_mean"], cut["patch_spread"], cut["patch_histogram"]) == (3.5, 2.5, (1, 0, 2))
    looked = model(LOOKED, HALTING).summary()  # a look is rare, and the last one counts
    assert looked["bits_per_byte_held_out"] == 2.5
