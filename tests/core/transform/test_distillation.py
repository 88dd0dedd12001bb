"""Distilling tiny networks: every kind teaches every kind, the KL falls, rounds do as they are told, nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import Engine, EngineConfig, MixingConfig, TrainingConfig, TrainingPlan, bytes_in_memory, preset_config
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.layers.halting import Trace
from bitlm_core.models.config import ModelConfig
from bitlm_core.safety.floors import Floors
from bitlm_core.scoring.likelihood import score_steps
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.training.batches import sample_windows, windows_at
from bitlm_core.transform.distill_config import DistillConfig
from bitlm_core.transform.distillation import Distilled, DistillProgress, collapse_submodel, distill_steps
from bitlm_core.transform.students import student_config
from bitlm_core.transform.teachers import opened, representatives
from tests.conftest import run

TEXT = b"".join(b"%d bottles of beer on the wall, take %d down. " % (n, n % 7) for n in range(80))
DATA, HELD = bytes_in_memory(TEXT[:2800]), bytes_in_memory(TEXT[2800:3300])
QUICK = DistillConfig(steps=2, taught_from=0, max_rounds=1, looked_at=4, num_clusters=2)


def sized(architecture: str, **fields: Any) -> ModelConfig:
    if architecture == "mix":
        return preset_config(None, "mix")
    window = {"max_seq_len": 288 if architecture == "bit" else 32}
    tables = {} if architecture == "bit" else {"ngram_rows": 32}
    tables |= {"local_width": 16} if architecture == "patch" else {}
    return preset_config("tiny", architecture, **{"nhead": 1, "num_layers": 1, **window, **tables, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def teachers() -> Callable[[str], Engine]:
    made: dict[str, Engine] = {}

    def of(architecture: str) -> Engine:
        if architecture not in made:
            mixing = MixingConfig(memory_mib=8) if architecture == "mix" else None
            training = TrainingConfig() if architecture == "mix" else TrainingConfig(batch_size=4, warmup_steps=2)
            engine = Engine(EngineConfig(model=sized(architecture, d_model=48), training=training, mixing=mixing))
            for _ in engine.train_steps(DATA, TrainingPlan(steps=12)):
                pass
            made[architecture] = engine
        return made[architecture]

    return of


def distilled(teacher: Engine, settings: DistillConfig = QUICK, student: str = "byte", **fields: Any) -> Distilled:
    training = TrainingConfig(batch_size=4, warmup_steps=2)
    config = student_config(teacher.config, sized(student, **{"d_model": 16, **fields}), training=training, mixing=False)
    return run(distill_steps(teacher, DATA, HELD, config, settings))


def same_state(one: Engine, other: Engine) -> bool:
    (first, header), (second, again) = one.state(), other.state()
    return header == again and first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("teaches", "learns"),
    [("byte", "byte"), ("byte", "bit"), ("byte", "patch"), ("bit", "byte"), ("patch", "byte"), ("mix", "byte"), ("mix", "bit")],
)
def test_every_kind_teaches_and_learns_and_a_teacher_stays_as_it_was(
    teachers: Callable[[str], Engine], teaches: str, learns: str
) -> None:
    teacher = teachers(teaches)
    before = Engine.from_state(*teacher.state())
    found = distilled(teacher, student=learns)
    assert same_state(teacher, before)
    one = found.report.kept
    alone = run(score_steps(found.student.model, None, HELD.array)).bits_per_byte_network
    assert one.bits_per_byte == alone and found.student.config.model.architecture == learns
    known = run(teacher.evaluate_steps(HELD.array)).bits_per_byte_static
    assert found.report.teacher_bits_per_byte == pytest.approx(known)
    assert one.gain_kept == pytest.approx((8 - one.bits_per_byte) / (8 - known))
    assert (one.kl is None) == (teaches == "mix") and (one.kl is None or one.kl > 0)
    assert one.steps == found.student.step == 2 and found.report.num_medoids == 2
    assert found.student.plan is None and found.student.trainer and found.student.trainer.teaching is None


def test_a_student_comes_closer_to_its_teacher_than_it_was(teachers: Callable[[str], Engine]) -> None:
    few, more = (distilled(teachers("byte"), QUICK.model_copy(update={"steps": steps})).report.kept for steps in (1, 20))
    assert few.kl is not None and more.kl is not None and more.kl < 0.8 * few.kl
    assert more.bits_per_byte < few.bits_per_byte and more.gain_kept > few.gain_kept


def test_equal_seeds_give_equal_students_bit_for_bit_and_others_differ(teachers: Callable[[str], Engine]) -> None:
    one, again = (distilled(teachers("byte")).student for _ in range(2))
    assert same_state(one, again)
    without = distilled(teachers("byte"), QUICK.model_copy(update={"num_clusters": 0}))
    assert without.report.num_medoids == 0 and not same_state(one, without.student)


def test_before_its_time_the_teacher_is_not_asked(teachers: Callable[[str], Engine]) -> None:
    late = distilled(teachers("byte"), QUICK.model_copy(update={"taught_from": 0.9, "num_clusters": 0})).student
    alone = Engine(late.config)
    for _ in alone.train_steps(DATA, TrainingPlan(steps=2)):
        pass
    assert late.model and alone.model
    ours, theirs = late.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    taught = distilled(teachers("byte"), QUICK.model_copy(update={"taught_from": 0.5, "num_clusters": 0})).student
    assert taught.model and not all(torch.equal(value, theirs[name]) for name, value in taught.model.state_dict().items())


def test_rounds_deepen_and_widen_until_enough_is_kept_and_the_best_stays(teachers: Callable[[str], Engine]) -> None:
    demanding = QUICK.model_copy(update={"max_rounds": 4, "min_gain": 1.0, "floors": Floors(c=0, s=0)})
    found = distilled(teachers("byte"), demanding)
    told = found.report
    assert [(one.num_layers, one.d_model) for one in told.rounds] == [(1, 16), (2, 16), (2, 24), (3, 24)]
    assert not told.reached and told.ended == "max_rounds"
    assert told.kept.gain_kept == max(one.gain_kept for one in told.rounds)
    assert found.student.config.model.d_model == told.kept.d_model and found.student.num_parameters == told.kept.num_parameters
    content = demanding.model_copy(update={"min_gain": 1e-6})
    assert [one.num_layers for one in distilled(teachers("byte"), content).report.rounds] == [1]
    limited = distilled(teachers("byte"), demanding, d_model=40)
    assert limited.report.ended == "as large as the teacher" and len(limited.report.rounds) < 4


def test_floors_are_looked_at_on_held_out_data_and_an_earlier_complexity_too(teachers: Callable[[str], Engine]) -> None:
    strict = QUICK.model_copy(update={"floors": Floors(k=1, c=1, s=1), "min_gain": 1e-6})
    one = distilled(teachers("byte"), strict).report
    assert one.kept.below == ("k", "c", "s") and not one.reached
    assert 0 <= one.kept.k < 1 and 0 <= one.kept.c < 1 and 0 < one.kept.s < 1
    teacher = Engine.from_state(*teachers("byte").state())
    teacher.set_telemetry(TelemetryConfig(profile="legacy"), Floors(c=1, s=0))
    assert distilled(teacher, QUICK.model_copy(update={"min_gain": 1e-6})).report.kept.below == ("transition_rate",)


def test_medoids_stand_for_the_groups_that_there_are(teachers: Callable[[str], Engine]) -> None:
    planted = bytes_in_memory(TEXT[:1600] + b"\x00" * 384 + TEXT[1600:2800])
    for name in ("byte", "mix"):
        guide = run(opened(teachers(name), planted))
        shown = run(representatives(guide, planted, length=32, looked_at=64, num_clusters=3, seed=0))
        zeros = (shown.data == 0).all(dim=1)
        assert name == "mix" or (zeros.any() and not zeros.all())
        assert len(shown.data) == 3 and shown.starts is not None
        assert torch.equal(shown.data, windows_at(planted, shown.starts.numpy(), 32).data)
    short = run(representatives(guide, bytes_in_memory(TEXT[:20]), length=32, looked_at=64, num_clusters=3, seed=0))
    assert short.data.shape == (1, 20)


def test_context_mixing_teaches_what_it_said_before_it_knew(teachers: Callable[[str], Engine]) -> None:
    data = DATA.part(300, 2000)
    guide = run(opened(teachers("mix"), data))
    batch = sample_windows(data.part(100, 900), batch=3, length=32, seed=0, step=0)
    believed, fresh = guide.ask(batch), Engine(teachers("mix").config)
    assert fresh.mixer is not None and teachers("mix").mixer is not None and batch.starts is not None
    fresh.mixer.set_profile(teachers("mix").mixer.profile)  # type: ignore[union-attr]
    said = fresh.mixer.read(np.asarray(data.array))
    for row, start in zip(believed.path_logits, batch.starts.tolist(), strict=True):
        np.testing.assert_allclose(row.numpy(), said[start - 300 : start - 268], atol=0.02)


def test_a_student_with_context_mixing_reads_the_data_itself(teachers: Callable[[str], Engine]) -> None:
    config = student_config(teachers("byte").config, sized("byte", d_model=16), mixing=MixingConfig(memory_mib=8))
    found = run(distill_steps(teachers("byte"), DATA, HELD, config, QUICK))
    assert found.student.mixer is not None and found.student.mixer.bytes_learned > 0


def test_windows_are_no_longer_than_the_teacher_s(teachers: Callable[[str], Engine]) -> None:
    found = distilled(teachers("byte"), max_seq_len=64)
    assert found.student.config.training.window_bytes == 32 and found.student.config.model.max_seq_len == 64


def test_what_cannot_be_distilled_is_refused_in_words(teachers: Callable[[str], Engine]) -> None:
    teacher = teachers("byte")
    with pytest.raises(ModelStateError, match="has learned nothing"):
        distilled(Engine(teacher.config))
    with pytest.raises(ConfigError, match="choose a smaller preset"):
        distilled(teacher, d_model=48)
    config = student_config(teacher.config, sized("byte", d_model=16))
    with pytest.raises(ConfigError, match="a student needs 2 of each"):
        next(distill_steps(teacher, DATA, HELD.part(0, 1), config, QUICK))
    noise = bytes_in_memory(np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes())
    with pytest.raises(ModelStateError, match="no better than chance"):
        run(distill_steps(teacher, DATA, noise, config, QUICK))


def test_progress_rises_over_all_rounds_and_tells_each_step(teachers: Callable[[str], Engine]) -> None:
    config = student_config(teachers("byte").config, sized("byte", d_model=16), mixing=False)
    told: list[DistillProgress] = []
    steps = distill_steps(teachers("byte"), DATA, HELD, config, QUICK.model_copy(update={"max_rounds": 2, "min_gain": 1.0}))
    try:
        while True:
            told.append(next(steps))
    except StopIteration as stop:
        report = stop.value.report
    shares = [one.share for one in told]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] <= 1
    assert [(one.round, one.step.step) for one in told if one.step] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    plain = report.plain()
    assert [row["bits_per_byte"] for row in plain["rounds"]] == [one.bits_per_byte for one in report.rounds]


def test_a_clock_of_one_s_own_ends_rounds_of_seconds(teachers: Callable[[str], Engine]) -> None:
    ticks = iter(range(1000))
    config = student_config(teachers("byte").config, sized("byte", d_model=16), mixing=False)
    settings = DistillConfig(seconds=5, max_rounds=1, num_clusters=0)
    found = run(distill_steps(teachers("byte"), DATA, HELD, config, settings, now=lambda: float(next(ticks))))
    assert found.student.step == 5


def test_the_name_of_an_earlier_system_does_the_same(teachers: Callable[[str], Engine]) -> None:
    target = sized("byte", d_model=16)
    student, metrics = collapse_submodel(teachers("byte"), TEXT[:2000], target, max_rounds=1, seconds=0.05)
    assert student.config.model == target and metrics["rounds"][0]["num_parameters"] == student.num_parameters
    with pytest.raises(ConfigError, match="empty"):
        collapse_submodel(teachers("byte"), b"a", target, seconds=1)


def test_beliefs_are_asked_for_in_the_dtype_of_training_and_leave_none_behind(teachers: Callable[[str], Engine]) -> None:
    teacher = teachers("byte")
    assert teacher.model is not None
    batch = sample_windows(DATA, batch=2, length=32, seed=0, step=0)
    said = run(opened(teacher, DATA)).ask(batch)
    trace = Trace(graph_bytes=64)
    with torch.no_grad():
        exact = teacher.model.path_logits(batch.data, trace=trace)
    assert teacher.model.compute_dtype is torch.float32 and not said.path_logits.requires_grad
    assert said.nodes is not None and said.nodes.shape == (64, 256)
    assert 0 < (said.path_logits - exact).abs().max() < 0.2
