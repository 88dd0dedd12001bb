"""Sizes of students: a quarter, what is named, and what is tried when that learns too little."""

from __future__ import annotations

from typing import Any

import pytest

from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.config import ModelConfig, count_parameters
from bitlm_core.models.presets import preset_config
from bitlm_core.safety.floors import CalibratedFloors, Floors, Range
from bitlm_core.training.config import TrainingConfig
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.students import (
    check_smaller,
    deepened,
    estimate_distill_bytes,
    larger,
    outside_tables,
    smaller,
    student_config,
    target_config,
    widened,
)

SETTINGS = DistillConfig(steps=1, max_rounds=5)


@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        ("small", {}),
        ("base", {"attention": "differential"}),
        ("small", {"architecture": "bit"}),
        ("base", {"architecture": "patch"}),
        ("small", {"diffusion": "shared"}),
        ("base", {"use_act": True, "d_model": 250, "nhead": 5}),
    ],
)
def test_unasked_a_student_has_about_a_quarter_in_all_and_outside_of_tables(preset: Any, fields: dict[str, Any]) -> None:
    teacher = preset_config(preset, **fields)
    student = smaller(teacher)
    for count in (count_parameters, outside_tables):
        assert 0.08 * count(teacher) < count(student) <= 0.25 * count(teacher)
    assert student.num_layers == teacher.num_layers and student.max_seq_len == teacher.max_seq_len
    assert student.attention == teacher.attention and student.architecture == teacher.architecture


def test_what_has_no_quarter_is_told() -> None:
    with pytest.raises(ConfigError, match="no smaller one of its kind"):
        smaller(preset_config("tiny", d_model=16, nhead=1, num_layers=1, ngram_rows=0))
    with pytest.raises(ConfigError, match="has no sizes"):
        smaller(preset_config(None, "mix"))


def test_rounds_are_deeper_then_wider_once_then_deeper_while_smaller_than_the_teacher() -> None:
    model = preset_config("tiny", d_model=96, nhead=1, num_layers=1, dim_feedforward=200)
    sizes = larger(model, SETTINGS, preset_config("base"))
    assert [(size.num_layers, size.d_model, size.dim_feedforward) for size in sizes] == [
        (1, 96, 200),
        (2, 96, 200),
        (2, 144, 304),
        (3, 144, 304),
        (4, 144, 304),
    ]
    assert [
        len(larger(model, SETTINGS.model_copy(update={"max_rounds": rounds}), preset_config("base"))) for rounds in (1, 2)
    ] == [1, 2]
    assert len(larger(model, SETTINGS, deepened(model))) == 1
    assert len(larger(model, SETTINGS, preset_config(None, "mix"))) == 5
    full = model.model_copy(update={"num_layers": 128})
    assert larger(full, SETTINGS, preset_config("base", num_layers=128)) == [full]


def test_a_wider_patch_network_is_wider_in_both_widths_and_always_valid() -> None:
    model = preset_config("tiny", "patch", d_model=48, nhead=3)
    wider = widened(model, 1.5)
    assert model.patch and wider.patch
    assert (wider.d_model, wider.patch.local_width) == (72, 96) and ModelConfig(**wider.model_dump()) == wider
    assert widened(preset_config("tiny", d_model=32, nhead=4, attention="differential"), 1.01).d_model == 48


def test_a_student_that_is_no_smaller_or_no_network_is_refused() -> None:
    model = preset_config("tiny")
    with pytest.raises(ConfigError, match="choose a smaller preset"):
        check_smaller(model, model)
    check_smaller(preset_config(None, "mix"), model)
    with pytest.raises(ConfigError, match="no network that could be taught"):
        student_config(EngineConfig(), preset_config(None, "mix"))


def test_a_student_is_as_its_teacher_where_nothing_else_is_asked_for() -> None:
    one = Range(low=0, usual=1, high=2)
    row = CalibratedFloors(num_bytes=64, k=one, c=one, s=one, pairs=one, excess=one, cost=one)
    teacher = EngineConfig(
        model=preset_config("small"),
        training=TrainingConfig(batch_size=3),
        mixing=MixingConfig(memory_mib=9),
        floors=Floors(s=0.7, calibrated=(row,)),
    )
    student = student_config(teacher, seed=5)
    assert student.training.batch_size == 3 and student.mixing == teacher.mixing and student.seed == 5
    assert student.floors == Floors(s=0.7) and student.model == smaller(teacher.model)
    assert student_config(teacher, mixing=False).mixing is None
    assert student_config(teacher, mixing=MixingConfig(memory_mib=10)).mixing == MixingConfig(memory_mib=10)
    alone = student_config(EngineConfig(model=preset_config(None, "mix")), preset_config("tiny"))
    assert alone.mixing == MixingConfig()


def test_sizes_by_name() -> None:
    teacher = preset_config("small")
    assert target_config(teacher) == smaller(teacher)
    named = target_config(teacher, d_model=64, num_layers=None)
    assert (named.d_model, named.nhead, named.dim_feedforward, named.num_layers) == (64, 1, 256, 3)
    assert target_config(teacher, "tiny", d_model=64).num_layers == 2
    other = target_config(teacher, architecture="bit")
    assert (other.architecture, other.max_bytes, other.d_model) == ("bit", teacher.max_bytes, 128)
    assert target_config(preset_config(None, "mix")) == preset_config("tiny")
    with pytest.raises(ConfigError, match="d_model"):
        target_config(teacher, d_model=65, nhead=2)


def test_the_estimate_grows_with_the_rounds_the_teacher_and_what_is_kept() -> None:
    teacher = EngineConfig(model=preset_config("base"), mixing=None)
    student = student_config(teacher, preset_config("tiny"))
    one = estimate_distill_bytes(teacher, student, DistillConfig(steps=1, max_rounds=1), 1000)
    three = estimate_distill_bytes(teacher, student, DistillConfig(steps=1, max_rounds=3), 1000)
    assert 0 < one < three
    mix = EngineConfig(model=preset_config(None, "mix"))
    small, large = (estimate_distill_bytes(mix, student, DistillConfig(steps=1), size) for size in (0, 1 << 30))
    assert large - small == 16 << 30


def test_a_budget_is_given_once() -> None:
    for given in ({}, {"steps": 3, "seconds": 1.0}):
        with pytest.raises(ValueError, match="give one of them"):
            DistillConfig(**given)  # type: ignore[arg-type]
    assert DistillConfig(steps=3).plan.steps == 3 and DistillConfig(seconds=2).plan.seconds == 2
