"""After a progressive training: the network that grew stays bit for bit, a smaller one stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bitlm_core import (
    ConfigError,
    DistillConfig,
    Engine,
    EngineConfig,
    Growing,
    MixingConfig,
    ProgressiveConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    check_ending,
    estimate_engine_bytes,
    estimate_small_bytes,
    preset_config,
    small_steps,
)
from bitlm_core.models.grid import put_on_grid
from bitlm_core.transform.afterwards import Small, SmallReport, budget
from tests.conftest import run

TEXT = b"".join(b"%d bottles of beer on the wall, take %d down. " % (n, n % 7) for n in range(80))
DATA, HELD = bytes_in_memory(TEXT[:2800]), bytes_in_memory(TEXT[2800:3300])
SIZES: dict[str, Any] = {"nhead": 1, "num_layers": 1, "dim_feedforward": 32, "max_seq_len": 32, "ngram_rows": 0}


def fresh(**fields: Any) -> Engine:
    model = preset_config("tiny", **{**SIZES, "d_model": 64, **fields})
    training = TrainingConfig(batch_size=4, warmup_steps=2)
    return Engine(EngineConfig(model=model, training=training, mixing=MixingConfig(memory_mib=8)))


@pytest.fixture(scope="module")
def trained() -> Engine:
    engine = fresh()
    list(engine.train_steps(DATA, TrainingPlan(steps=12, validate_every=6, growing=Growing()), HELD))
    return engine


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of four steps, without medoids."""
    settings = DistillConfig(steps=4, max_rounds=1, num_clusters=0)
    monkeypatch.setattr("bitlm_core.transform.afterwards.budget", lambda _: settings)


@pytest.fixture
def made(trained: Engine, quick: None) -> Callable[..., Small]:
    """What the settings make of the trained engine, which stays as it was."""

    def make(**settings: Any) -> Small:
        before, header = trained.state()
        before = {name: tensor.clone() for name, tensor in before.items()}
        found = run(small_steps(trained, DATA, HELD, ProgressiveConfig(**settings)))
        after, told = trained.state()
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
        assert header == told
        return found

    return make


def on_grid(engine: Engine, mode: Any) -> bool:
    """Whether rounding changes nothing any more."""
    assert engine.model is not None
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    put_on_grid(engine.model, mode)
    return all(torch.equal(tensor, before[name]) for name, tensor in engine.model.state_dict().items())


def test_a_student_is_smaller_and_can_learn(made: Callable[..., Small], trained: Engine) -> None:
    small = made(auto_collapse=True)
    assert small.report.num_parameters == small.engine.num_parameters <= trained.num_parameters / 4
    assert small.distilled is not None and small.engine.step == small.distilled.kept.steps == 4
    assert small.report.bits_per_byte == small.distilled.kept.bits_per_byte < 8
    assert small.report.gain_kept == small.distilled.kept.gain_kept and small.report.quantized is None
    list(small.engine.train_steps(DATA, TrainingPlan(steps=1)))


def test_a_student_may_be_int4(made: Callable[..., Small], trained: Engine) -> None:
    small = made(auto_collapse=True, quantize="int4")
    assert small.engine.config.model.quantized == small.report.quantized == "int4" and on_grid(small.engine, "int4")
    assert small.engine.step == 5  # one step more, with rounded weights
    assert small.report.smaller and small.report.network_bytes < small.report.network_bytes_before / 16
    assert small.distilled and small.report.gain_kept != small.distilled.kept.gain_kept


def test_a_copy_may_be_quantised_alone(made: Callable[..., Small], trained: Engine) -> None:
    small = made(quantize="int8")
    assert small.distilled is None and not small.report.smaller and small.engine is not trained
    assert on_grid(small.engine, "int8") and small.engine.step == trained.step
    assert small.report.bits_per_byte == pytest.approx(small.report.bits_per_byte_before, abs=0.1)


def test_each_round_takes_a_quarter_of_the_training() -> None:
    assert budget(TrainingPlan(steps=100, steps_done=80)).steps == 20
    assert budget(TrainingPlan(steps=2, steps_done=2)).steps == 1
    assert budget(TrainingPlan(seconds=9.0, steps_done=5, seconds_done=10.0)).seconds == 2.5


def test_nothing_is_made_where_nothing_is_asked_for(trained: Engine) -> None:
    assert not ProgressiveConfig().ends_small
    with pytest.raises(ConfigError, match="auto_collapse=False, quantize=None, 12 steps done"):
        next(small_steps(trained, DATA, HELD, ProgressiveConfig()))
    with pytest.raises(ConfigError, match="0 steps done"):
        next(small_steps(fresh(), DATA, HELD, ProgressiveConfig(auto_collapse=True)))


def test_what_cannot_be_made_smaller_is_told_before() -> None:
    check_ending(fresh().config, ProgressiveConfig(auto_collapse=True, quantize="int8"))
    narrow = fresh(d_model=16).config
    check_ending(narrow, ProgressiveConfig(quantize="int8"))
    with pytest.raises(ConfigError, match="start with a wider network"):
        check_ending(narrow, ProgressiveConfig(auto_collapse=True))
    mix = EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))
    with pytest.raises(ConfigError, match="no network that could be quantised"):
        check_ending(mix, ProgressiveConfig(quantize="int8"))


def test_its_memory_is_estimated() -> None:
    config = fresh().config
    copied = estimate_small_bytes(config, ProgressiveConfig(quantize="int8"), 1000)
    assert copied == estimate_engine_bytes(config)
    assert estimate_small_bytes(config, ProgressiveConfig(auto_collapse=True), 1000) > copied / 4


def test_it_is_told_in_a_line() -> None:
    report = SmallReport(1000, 4000, 2.5, 2.0, 0.9167, 500, 16_000, "int4")
    assert report.message(7) == "step 7: collapsed to 1,000 parameters, int4, 91.7% of the gain kept (500 bytes of 16,000)"
    copied = SmallReport(4000, 4000, 9.0, 9.0, None, 4000, 16_000, "int8")
    assert copied.message(7) == "step 7: copied, int8 (4,000 bytes of 16,000)"
