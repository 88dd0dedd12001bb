"""Trainings in which the network grows: what stays still, what is kept or undone, and that a stop changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    Growing,
    GrowthEvent,
    MixingConfig,
    Progressive,
    ProgressiveConfig,
    ResourceLimitError,
    StepReport,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
)

ALWAYS = {"improve_threshold": 0.999, "window": 1, "patience": 1, "warmup_steps": 4, "frozen_steps": 3, "last_share": 0.1}
"""A rule to which every second look is a plateau."""


@pytest.fixture(scope="module")
def parts(text: bytes) -> tuple[ByteData, ByteData]:
    return bytes_in_memory(text[:4000]), bytes_in_memory(text[4000:4200])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[float]], None]:
    """Have the looks at held-out data see these losses; the last one for ever."""

    def see(losses: Iterable[float]) -> None:
        left = iter(losses)
        last = [0.0]

        def loss(*_: Any) -> float:
            last[0] = next(left, last[0])
            return last[0]

        monkeypatch.setattr("bitlm_core.learning.held_out_loss", loss)

    return see


def fresh() -> Engine:
    model = preset_config("tiny", d_model=16, nhead=1, num_layers=1, dim_feedforward=32, max_seq_len=32, ngram_rows=0)
    training = TrainingConfig(batch_size=2, warmup_steps=2, use_autocast=False)
    return Engine(EngineConfig(model=model, training=training, mixing=None))


def plan(steps: int, **fields: Any) -> TrainingPlan:
    settings = ProgressiveConfig.model_validate(ALWAYS | fields)
    return TrainingPlan(steps=steps, validate_every=2, growing=Growing(settings=settings))


def events(told: Iterable[StepReport | GrowthEvent]) -> list[str]:
    return [f"{each.what} {each.growth}" for each in told if isinstance(each, GrowthEvent)]


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in engine.state()[0].items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def unmoved(before: dict[str, torch.Tensor], now: dict[str, torch.Tensor], part: str) -> list[str]:
    """Weights of a part of the network that are bit for bit what they were."""
    names = [name for name in now if name.startswith("model.") and part in name]
    assert names
    return [name for name in names if torch.equal(now[name], before[name])]


def until(steps: Iterator[StepReport | GrowthEvent], what: str) -> GrowthEvent:
    return next(each for each in steps if isinstance(each, GrowthEvent) and each.what == what)


def test_it_grows_in_the_cycle_and_tells(parts: Any, looks: Any) -> None:
    looks([3.0, 3.0, 2.9, 2.9, 2.8, 2.8, 2.7])
    training = Progressive(fresh())
    told = list(training.steps(parts[0], plan(40), parts[1]))
    assert events(told)[:6] == [f"{what} {kind}" for kind in ("layer", "width", "context") for what in ("grown", "kept")]
    model = training.engine.config.model
    assert (model.num_layers, model.d_model, model.max_seq_len) >= (2, 32, 64) and not training.on_trial
    run = training.engine.plan
    assert run is not None and run.steps_done == 40 and run.growing is not None
    assert [each for each in told if isinstance(each, GrowthEvent)] == list(run.growing.events)
    rates = {each.step: each.learning_rate for each in told if isinstance(each, StepReport)}
    assert rates[5] == pytest.approx(3e-3 / 2**0.5 / 4) and rates[8] == pytest.approx(3e-3 / 2**0.5)  # grown after step 4
    sizes = [each.num_parameters for each in told if isinstance(each, GrowthEvent)]
    assert sizes == sorted(sizes) and training.engine.num_parameters == sizes[-1]


def test_old_weights_and_their_moments_rest_beside_a_new_layer(parts: Any, looks: Any) -> None:
    looks([3.0])
    training = Progressive(fresh())
    steps = training.steps(parts[0], plan(40), parts[1])
    assert until(steps, "grown").growth == "layer"
    new = "stack.blocks.1."
    before = weights(training.engine)
    for _ in range(3):
        next(steps)
        now = weights(training.engine)
        assert same(*({name: value for name, value in each.items() if new not in name} for each in (before, now)))
    assert not unmoved(before, now, new)
    next(steps)
    assert not unmoved(before, weights(training.engine), "stack.blocks.0.")


def test_in_a_doubled_width_everything_learns_at_once(parts: Any, looks: Any) -> None:
    looks([3.0])
    training = Progressive(fresh())
    steps = training.steps(parts[0], plan(40, cycle=("width",)), parts[1])
    until(steps, "grown")
    before = weights(training.engine)
    next(steps)
    assert not unmoved(before, weights(training.engine), "blocks.")


def test_a_growth_that_is_worse_is_undone_bit_for_bit(parts: Any, looks: Any) -> None:
    looks([3.0, 3.0, 3.1, 3.2, 3.1, 3.1, 3.1, 3.1])
    training = Progressive(fresh())
    steps = training.steps(parts[0], plan(40), parts[1])
    until(steps, "grown")
    state = weights(training.settled)
    told = until(steps, "undone")
    assert (told.step, told.loss) == (4, 3.2) and same(weights(training.engine), state)
    run = training.engine.plan
    assert run is not None and run.steps_done == 8 and training.engine.step == 4 and run.now["rate"] == 1.0
    assert until(steps, "grown").growth == "width"
    rest = list(steps)
    assert events(rest)[:4] == ["undone width", "grown context", "undone context", "ended None"]
    assert "a whole cycle" in next(each.reason for each in rest if isinstance(each, GrowthEvent) and each.what == "ended")
    assert training.engine.config == fresh().config and training.engine.plan is not None and training.engine.plan.finished


def test_it_stops_where_there_is_no_room(parts: Any, looks: Any) -> None:
    looks([3.0])
    small = fresh().num_parameters
    training = Progressive(fresh())
    told = list(training.steps(parts[0], plan(30, max_parameters=small + 3000), parts[1]))
    assert events(told) == ["grown layer", "kept layer", "ended None"]
    assert f"more than max_parameters={small + 3000:,}" in until(iter(told), "ended").message

    def refuse(config: EngineConfig) -> None:
        if config.model.d_model > 16 or config.model.num_layers > 1:
            raise ResourceLimitError("that much memory there is not", estimate=2, limit=1)

    told = list(Progressive(fresh(), refuse).steps(parts[0], plan(30), parts[1]))
    assert events(told) == ["ended None"] and until(iter(told), "ended").reason == "that much memory there is not"


def test_a_window_may_be_all_that_grows(parts: Any, looks: Any) -> None:
    looks([3.0])
    told = list(Progressive(fresh()).steps(parts[0], plan(22, cycle=("context",), max_parameters=1_000_000), parts[1]))
    assert events(told)[:3] == ["grown context", "kept context", "grown context"]


@pytest.mark.parametrize("stop_after", [3, 6, 9, 13])
def test_going_on_from_what_is_settled_changes_nothing(parts: Any, stop_after: int, whole: dict[str, torch.Tensor]) -> None:
    stopped = Progressive(fresh())
    steps = stopped.steps(parts[0], plan(16), parts[1])
    for _ in range(stop_after):
        next(steps)
    stopped.settle()
    again = Progressive(Engine.from_state(*stopped.engine.state()))
    assert not again.on_trial and again.engine.plan is not None
    list(again.steps(parts[0], again.engine.plan, parts[1]))
    assert same(weights(again.engine), whole)


@pytest.fixture(scope="module")
def whole(parts: Any) -> dict[str, torch.Tensor]:
    """What an uninterrupted training comes to, in which two growths are tried."""
    training = Progressive(fresh())
    assert events(training.steps(parts[0], plan(16), parts[1]))[::2] == ["grown layer", "grown width"]
    return weights(training.engine)


@pytest.mark.parametrize(("loss", "verdict"), [(3.5, "undone"), (2.5, "kept")])
def test_a_trial_that_the_end_meets_is_judged_then(parts: Any, looks: Any, loss: float, verdict: str) -> None:
    looks([3.0, 3.0, loss])
    training = Progressive(fresh())
    run = plan(11, warmup_steps=2, last_share=0.0).model_copy(update={"validate_every": 4})
    assert events(training.steps(parts[0], run, parts[1])) == ["grown layer", f"{verdict} layer"]
    assert training.engine.plan is not None and training.engine.plan.finished and not training.on_trial
    assert training.engine.config.model.num_layers == (1 if verdict == "undone" else 2)


def test_a_state_saved_in_a_trial_keeps_its_growth(parts: Any, looks: Any) -> None:
    looks([3.0])
    training = Progressive(fresh())
    steps = training.steps(parts[0], plan(40), parts[1])
    until(steps, "grown")
    next(steps)
    loaded = Engine.from_state(*training.engine.state())
    assert loaded.plan is not None
    next(Progressive(loaded).steps(parts[0], loaded.plan, parts[1]))
    assert loaded.plan is not None and loaded.plan.growing is not None and loaded.plan.growing.loss_before is None


def test_without_a_rule_or_a_network_nothing_grows(parts: Any) -> None:
    with pytest.raises(ConfigError, match="no rule"):
        next(Progressive(fresh()).steps(parts[0], TrainingPlan(steps=3), parts[1]))
    mix = Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8)))
    with pytest.raises(ConfigError, match="progressive=True: only networks"):
        next(Progressive(mix).steps(parts[0], plan(3), parts[1]))
