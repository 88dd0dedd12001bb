"""The rule by which a network grows, on series of losses made by hand."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from bitlm_core import Growing, GrowthEvent, ProgressiveConfig, TrainingPlan
from bitlm_core.training.growing import mean_gain

WARM = 10


def settings(**fields: object) -> ProgressiveConfig:
    return ProgressiveConfig.model_validate({"warmup_steps": WARM, "frozen_steps": 3, **fields})


def event(what: str, loss: float = 1.0) -> GrowthEvent:
    return GrowthEvent.model_validate({"what": what, "growth": "layer", "step": 9, "num_parameters": 1234, "loss": loss})


def looked(growing: Growing, *losses: float, step: int = 0) -> Growing:
    for loss in losses:
        growing = growing.after_look(loss, step, may_grow=True)
    return growing


def on_trial(**fields: object) -> Growing:
    due = looked(Growing(settings=settings(**fields)), 2.0, 2.0, 2.0, 2.0)
    return due.grown("layer", 40, ("b", "a"), event("grown"))


def test_a_plateau_is_so_many_flat_looks_in_a_row() -> None:
    growing = Growing(settings=settings(window=2, patience=2, improve_threshold=0.01))
    growing = looked(growing, 4.0, 3.0, 2.99)  # mean gain of the last two: (25 % + 0.3 %) / 2
    assert (growing.flat_looks, growing.asks) == (0, None)
    growing = looked(growing, 2.98)
    assert (growing.flat_looks, growing.losses) == (1, (3.0, 2.99, 2.98))
    assert looked(growing, 2.5).flat_looks == 0
    growing = looked(growing, 2.97)
    assert (growing.flat_looks, growing.asks) == (2, "grow")
    assert looked(Growing(settings=settings(window=1, patience=1)), 2.0, 2.0).asks == "grow"


def test_just_below_and_just_at_the_threshold() -> None:
    growing = Growing(settings=settings(window=1, patience=1, improve_threshold=0.25))
    assert looked(growing, 4.0, 3.0).asks is None and looked(growing, 4.0, 3.01).asks == "grow"
    assert mean_gain((2.0, 1.0, 1.5)) == pytest.approx((0.5 - 0.5) / 2) and mean_gain((0.0, 0.0)) == 0.0


def test_nothing_grows_where_it_may_not_or_any_more() -> None:
    flat = [2.0] * 5
    growing = Growing(settings=settings())
    for loss in flat:
        growing = growing.after_look(loss, 0, may_grow=False)
    assert growing.asks is None and growing.flat_looks == 3 and looked(growing, 2.0).asks == "grow"
    assert looked(growing.over(event("ended")), 2.0).asks is None


def test_the_rate_falls_once_per_growth_and_warms_up_from_it() -> None:
    assert Growing(settings=settings()).pace(7) == {"rate": 1.0, "alone": ()}
    growing = on_trial()
    assert growing.pace(40) == {"rate": pytest.approx(0.1 / math.sqrt(2)), "alone": ("b", "a")}
    assert [growing.pace(40 + since)["alone"] for since in range(5)] == [("b", "a")] * 3 + [()] * 2
    rates = [growing.pace(step)["rate"] for step in range(40, 60)]
    assert rates[9:] == [pytest.approx(1 / math.sqrt(2))] * 11 and rates[:10] == sorted(rates[:10])
    kept = looked(looked(growing, 1.9, step=50).kept(event("kept")), *[1.9] * 3, step=60)
    again = kept.grown("width", 60, (), event("grown"))
    assert again.pace(70)["rate"] == pytest.approx(1 / 2) and again.pace(60)["alone"] == ()


def test_a_growth_is_judged_after_its_warm_up() -> None:
    growing = on_trial()
    assert looked(growing, 9.0, step=49) == growing
    assert looked(growing, 2.001, step=50).asks == "undo"
    for loss in (2.0, 1.0):
        judged = looked(growing, loss, step=57)
        assert judged.asks == "keep" and judged.losses == (loss,) and judged.flat_looks == 0
        kept = judged.kept(event("kept"))
        assert kept.loss_before is None and kept.alone == () and kept.asks is None and kept.num_growths == 1


def test_what_was_undone_is_as_before_but_for_the_turn() -> None:
    before = looked(Growing(settings=settings()), 2.0, 2.0, 2.0, 2.0)
    tried = looked(before.grown("layer", 40, ("a",), event("grown")), 3.0, step=50)
    back = before.undone(tried, event("undone"), may_grow=True)
    assert back.order == ("width", "context", "layer") and (back.failures, back.asks) == (1, "grow")
    assert (back.num_growths, back.grown_at, back.losses) == (0, None, before.losses)
    assert [each.what for each in back.events] == ["grown", "undone"]
    assert before.undone(tried, event("undone"), may_grow=False).asks is None


def test_the_turn_goes_round_and_passes_over() -> None:
    growing = on_trial()
    assert growing.order == ("width", "context", "layer")
    assert growing.kept().grown("context", 60, (), event("grown")).order == ("layer", "width", "context")
    only = looked(Growing(settings=settings(cycle=("layer",))), 2.0, 2.0, 2.0, 2.0)
    assert only.grown("layer", 4, (), event("grown")).order == ("layer",)


def test_the_plan_carries_it_and_rests_while_something_is_asked() -> None:
    plan = TrainingPlan(steps=100, validate_every=5, growing=Growing(settings=settings(last_share=0.3)))
    assert plan.now["rate"] == 1.0 and plan.may_grow
    for _ in range(4):
        plan = plan.after_validation(2.0)
    assert plan.rests and not plan.finished
    assert TrainingPlan.model_validate_json(plan.model_dump_json()) == plan
    assert plan.model_copy(update={"steps_done": 70}).may_grow and not plan.model_copy(update={"steps_done": 71}).may_grow
    near = TrainingPlan(steps=100, validate_every=5, steps_done=90, growing=Growing(settings=settings(last_share=0.0)))
    assert not near.may_grow and near.model_copy(update={"steps_done": 89}).may_grow
    assert "rate" not in TrainingPlan(steps=1).now and not TrainingPlan(steps=1).may_grow


@pytest.mark.parametrize("fields", [{}, {"validate_every": 2, "patience": 3}, {"validate_every": 2, "carry": True}])
def test_what_does_not_go_with_growing_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="grow"):
        TrainingPlan.model_validate({"steps": 9, "growing": Growing(), **fields})


def test_a_state_that_asks_knows_why() -> None:
    with pytest.raises(ValidationError, match="without a look"):
        Growing(asks="grow")
