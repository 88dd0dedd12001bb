"""architecture="mix": context mixing alone, through everything that an engine does."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    MixingConfig,
    SamplingConfig,
    Template,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    check_training,
    estimate_engine_bytes,
    preset_config,
    read_file,
    write_file,
)
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.config import MIX_BYTES, ModelConfig
from tests.conftest import run

MIXING = MixingConfig(memory_mib=8)
CONFIG = EngineConfig(model=preset_config(None, "mix"), mixing=MIXING, training=TrainingConfig(telemetry_every=2))


@pytest.fixture(scope="module")
def data(text: bytes) -> ByteData:
    return bytes_in_memory(text[: 3 * MIX_BYTES + 1000])


@pytest.fixture(scope="module")
def mix(data: ByteData) -> Engine:
    """An engine that has read its data. Tests must leave it as it is."""
    engine = Engine(CONFIG)
    for _ in engine.train_steps(data, TrainingPlan(steps=10)):
        pass
    return engine


def same(one: Engine, other: Engine) -> bool:
    first, second = one.state(), other.state()
    return first[1] == second[1] and all(torch.equal(value, second[0][name]) for name, value in first[0].items())


def test_a_step_reads_on_and_the_end_of_the_data_is_the_end(data: ByteData) -> None:
    engine = Engine(CONFIG)
    assert engine.mixer is not None
    reports = list(engine.train_steps(data, TrainingPlan(steps=10)))
    assert [report.num_bytes for report in reports] == [MIX_BYTES] * 3 + [1000]
    assert engine.plan is not None and engine.plan.all_read and engine.plan.finished and not engine.plan.stopped_early
    assert (engine.step, engine.plan.steps_done, engine.mixer.bytes_learned) == (4, 4, len(data))
    assert [report.bits_per_byte_mixed for report in reports] == [report.bits_per_byte for report in reports]
    assert reports[2].bits_per_byte < reports[0].bits_per_byte < 4
    assert reports[0].loss == pytest.approx(reports[0].bits_per_byte * math.log(2))
    assert np.array_equal(engine.reference, np.bincount(data.array, minlength=256))


def test_what_a_step_reports_is_what_the_mixer_gave_before_it_learned(data: ByteData) -> None:
    (first,) = Engine(CONFIG).train_steps(data, TrainingPlan(steps=1))
    logits = ContextMixer(MIXING).read(data.array[:MIX_BYTES]).astype(np.float64)
    bits = np.unpackbits(data.array[:MIX_BYTES, None], axis=1)
    assert first.loss == pytest.approx(np.logaddexp(0, np.where(bits == 1, -logits, logits)).sum() / MIX_BYTES)


def test_telemetry_comes_when_it_is_due_and_at_the_end(mix: Engine, data: ByteData) -> None:
    reports = list(Engine(CONFIG).train_steps(data, TrainingPlan(steps=10)))
    assert [report.step for report in reports if report.telemetry] == [2, 4]
    last = reports[-1].telemetry
    assert last is not None and 0 < last.k < 1 and 0.3 < last.c < 1 and 0.8 < last.s < 1


def test_reading_the_same_again_teaches_nothing(mix: Engine, data: ByteData, tmp_path: Path) -> None:
    write_file(tmp_path / "mix", *mix.state())
    engine = Engine.from_state(*read_file(tmp_path / "mix", "mix"))
    assert list(engine.train_steps(data, TrainingPlan(steps=5))) == []
    assert engine.plan is not None and engine.plan.all_read and engine.plan.steps_done == 0
    assert engine.step == mix.step
    more = bytes_in_memory(b"other data " * 20)
    assert [report.num_bytes for report in engine.train_steps(more, TrainingPlan(steps=5))] == [220]


def test_resumed_training_equals_uninterrupted_training_bit_for_bit(mix: Engine, data: ByteData, tmp_path: Path) -> None:
    half = Engine(CONFIG)
    list(islice(half.train_steps(data, TrainingPlan(steps=10)), 2))
    write_file(tmp_path / "half", *half.state())
    resumed = Engine.from_state(*read_file(tmp_path / "half", "half"))
    assert resumed.plan is not None
    assert len(list(resumed.train_steps(data, resumed.plan))) == 2
    assert same(resumed, mix)


def test_it_answers_without_any_network(mix: Engine, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(torch.nn.Module, "__call__", forbidden)
    assert mix.model is None and mix.trainer is None and mix.num_parameters == 0
    (first, verdict), (again, _), (other, _) = (
        run(mix.infer_steps(b"The ", 100, SamplingConfig(seed=seed), "warn")) for seed in (1, 1, 2)
    )
    assert first == again != other and len(first.data) == 100 and verdict is not None and verdict.judged
    held = np.frombuffer(text[-70_000:], np.uint8)
    found = run(mix.evaluate_steps(held, [(0, 40_000), (40_000, 70_000)]))
    assert found.bits_per_byte < found.bits_per_byte_static < 3 and found.bits_per_byte_network is None
    assert found.num_bytes == 70_000


def test_infer_long_predicts_every_bit_once(mix: Engine, text: bytes) -> None:
    data = np.frombuffer(text[-1500:], np.uint8)
    found = run(mix.infer_long_steps(data, ctx_bits=900 * 9, overlap=100 * 9))
    assert [(window.start_byte, window.num_bytes) for window in found.windows] == [(0, 900), (900, 600)]
    assert mix.mixer is not None
    mixer = mix.mixer.copy()
    mixer.start_document()
    logits = mixer.read(data, learn=False)
    assert found.predicted == np.packbits(logits > 0, axis=1).tobytes()
    assert all(0 < value < 1 for window in found.windows for value in (window.k, window.c, window.s))
    whole = run(mix.infer_long_steps(data, ctx_bits=1 << 20, overlap=0))
    assert whole.ctx_bits == MIX_BYTES * 9 and len(whole.windows) == 1
    with pytest.raises(ConfigError, match="nothing twice"):
        run(mix.infer_long_steps(data, ctx_bits=900, overlap=0, carry=True))


def test_it_may_be_held_against_unseen_data(data: ByteData, text: bytes) -> None:
    held = bytes_in_memory(text[-20_000:])
    engine = Engine(CONFIG)
    reports = list(engine.train_steps(data, TrainingPlan(steps=3, validate_every=1), held))
    losses = [report.held_out_loss for report in reports]
    assert losses == sorted(losses, reverse=True) and engine.plan is not None and engine.plan.best_loss == losses[-1]
    static = run(engine.evaluate_steps(held.array)).bits_per_byte_static
    assert losses[-1] == pytest.approx(static * math.log(2))


def test_what_only_networks_can_is_refused_with_what_to_do_instead(mix: Engine, data: ByteData) -> None:
    before = mix.state()
    with pytest.raises(ConfigError, match="diffusion_sample needs: continue a prompt with infer"):
        run(mix.diffusion_sample_steps(Template.between(b"", 4)))
    with pytest.raises(ConfigError, match="train_full_sequence needs: train_steps reads in order"):
        mix.train_full_sequence(data)
    with pytest.raises(ConfigError, match="longer window"):
        mix.expand_positional_encoding(1024)
    with pytest.raises(ConfigError, match=r"batch_size=2, learning_rate=0\.1: only networks"):
        mix.set_training(TrainingConfig(batch_size=2, learning_rate=0.1))
    for field in ({"objective": "diffusion"}, {"carry": True}):
        with pytest.raises(ConfigError, match=f"{next(iter(field))}=.*each byte once"):
            next(mix.train_steps(data, TrainingPlan(steps=1, **field)))  # type: ignore[arg-type]
    after = mix.state()
    assert before[1] == after[1] and all(torch.equal(value, after[0][name]) for name, value in before[0].items())


def test_sizes_of_a_network_it_does_not_have_are_refused() -> None:
    for preset, fields in (("tiny", {}), (None, {"d_model": 192}), (None, {"use_act": False})):
        with pytest.raises(ConfigError, match=r"has no network that .* could describe"):
            preset_config(preset, "mix", **fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dropout, nhead could describe"):
        ModelConfig(architecture="mix", nhead=3, dropout=0.0)
    assert preset_config(None, "mix").model_dump() == {"architecture": "mix"}
    again = EngineConfig.model_validate_json(CONFIG.model_dump_json())
    told = preset_config("small").model_dump()
    assert again == CONFIG and ModelConfig.model_fields.keys() - told.keys() == {"quantized"}


def test_without_context_mixing_nothing_is_left() -> None:
    with pytest.raises(ConfigError, match=r"context_mixing=false.*architecture='byte'"):
        EngineConfig(model=preset_config(None, "mix"), mixing=None)
    with pytest.raises(ConfigError, match="window_bytes=64"):
        EngineConfig(model=preset_config(None, "mix"), training=TrainingConfig(window_bytes=64))
    check_training(preset_config("tiny"), TrainingConfig(batch_size=2), TrainingPlan(steps=1, carry=True))


def test_its_memory_is_that_of_its_tables() -> None:
    estimates = [
        estimate_engine_bytes(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=mib)))
        for mib in (8, 64, 1024)
    ]
    assert estimates[1] - estimates[0] == 4 * 56 << 20 and estimates[2] - estimates[1] == 4 * 960 << 20
    assert estimates[0] < 100 << 20
