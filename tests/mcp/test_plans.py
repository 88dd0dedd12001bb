"""What a call of train_step asks for, as the engine is told it."""

from __future__ import annotations

from typing import Any

import pytest

from bitlm_core import ConfigError, TrainingConfig, TrainingPlan
from bitlm_mcp.tools.plans import VALIDATE_EVERY, plan_of, settings_of


def plan(**asked: Any) -> TrainingPlan:
    return plan_of(**dict.fromkeys(("steps", "seconds", "validate_every", "patience")) | asked)


def test_a_call_without_length_is_one_step() -> None:
    assert plan() == TrainingPlan(steps=1)
    assert plan(seconds=2.0) == TrainingPlan(seconds=2.0) and plan(steps=3) == TrainingPlan(steps=3)


def test_patience_alone_looks_now_and_then() -> None:
    assert plan(steps=500, patience=3) == TrainingPlan(steps=500, patience=3, validate_every=VALIDATE_EVERY)
    assert plan(steps=500, patience=3, validate_every=7).validate_every == 7


def test_what_does_not_go_together_is_told_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^carry reads a stream in order.*use 'causal'$"):
        plan(carry=True, objective="diffusion")


def test_what_is_not_given_is_as_the_engine_has_it() -> None:
    assert settings_of(dict.fromkeys(TrainingConfig.model_fields)) == TrainingConfig()
    given: dict[str, Any] = {"optimizer": "adamw", "accumulation": 2, "use_autocast": False, "compile": True, "batch_size": 3}
    assert settings_of(given) == TrainingConfig(**given)
