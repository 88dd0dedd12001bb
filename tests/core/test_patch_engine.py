"""Byte-latent models as engines: what they tell of their patches, what comes back from a checkpoint, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import (
    ByteData,
    ConfigError,
    ContainerError,
    DiffusionSampling,
    Engine,
    EngineConfig,
    MixingConfig,
    ModelCodec,
    RepairSettings,
    SamplingConfig,
    TelemetryConfig,
    Template,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    damaged_ranges,
    decompress_steps,
    preset_config,
    repair_steps,
)
from tests.conftest import run

SIZES = {"d_model": 32, "nhead": 1, "num_layers": 1, "local_width": 32, "max_seq_len": 64, "ngram_rows": 64}


def an_engine(*, mixing: bool = False, training: dict[str, Any] | None = None, **form: Any) -> Engine:
    """Small, and before its first step."""
    settings = TrainingConfig(**{"batch_size": 4, "warmup_steps": 2, "telemetry_every": 2, **(training or {})})
    config = {"model": preset_config("tiny", "patch", **{**SIZES, **form}), "training": settings, "seed": 5}
    return Engine(EngineConfig(**config, mixing=MixingConfig(memory_mib=8) if mixing else None))


@pytest.fixture(scope="module")
def data(text: bytes) -> ByteData:
    return bytes_in_memory(text[:12_000])


def test_steps_that_measure_tell_of_patches(data: ByteData) -> None:
    reports = list(an_engine().train_steps(data, TrainingPlan(steps=4)))
    assert [report.patches is not None for report in reports] == [False, True, False, True]
    about = reports[-1].patches
    assert about is not None and 3 < about.mean < 5 and about.spread > 1 and about.longest <= 24
    assert sum(about.histogram) == about.num_patches
    assert sum(size * count for size, count in enumerate(about.histogram, 1)) == 4 * 63  # START is none of them


def test_a_fixed_stride_is_told_exactly(data: ByteData) -> None:
    (report,) = an_engine(patching="fixed", stride=3, training={"telemetry_every": 1}).train_steps(data, TrainingPlan(steps=1))
    assert report.patches is not None and report.patches.histogram == (0, 0, 4 * 21)
    assert (report.patches.mean, report.patches.spread) == (3, 0)


@pytest.mark.parametrize("mixing", [False, True])
def test_a_training_goes_on_bit_for_bit(data: ByteData, mixing: bool) -> None:
    """Also what says where patches start comes back: the entropies are not fitted to other data again."""
    straight = an_engine(mixing=mixing)
    losses = [report.loss for report in straight.train_steps(data, TrainingPlan(steps=6))]
    first = an_engine(mixing=mixing)
    steps = first.train_steps(data, TrainingPlan(steps=6))
    begun = [next(steps).loss for _ in range(3)]
    again = Engine.from_state(*first.state())
    assert again.plan is not None and again.model is not None and again.model.entropy.fitted
    rest = [report.loss for report in again.train_steps(data, again.plan)]
    assert begun + rest == losses and losses[-1] < losses[0]
    tensors, _ = again.state()
    for name, tensor in straight.state()[0].items():
        assert torch.equal(tensor, tensors[name]), name
    assert {"model.entropy.theta", "model.entropy.three"} <= tensors.keys()
    other = bytes_in_memory(bytes(range(256)) * 20)
    theta = again.model.entropy.threshold
    list(again.train_steps(other, TrainingPlan(steps=1)))
    assert again.model.entropy.threshold == theta


@pytest.mark.parametrize("objective", ["diffusion", "mixed"])
def test_masked_training_needs_a_network_of_its_own(data: ByteData, objective: str) -> None:
    plan = TrainingPlan(steps=2, objective=objective, validate_every=2)  # type: ignore[arg-type]
    without = an_engine()
    with pytest.raises(ConfigError, match=f"objective='{objective}' hides bytes.*make the model with diffusion='own'"):
        next(without.train_steps(data, plan))
    assert without.step == 0 and not without.model.entropy.fitted  # type: ignore[union-attr]
    engine = an_engine(diffusion="own", training={"telemetry_every": 1})
    reports = list(engine.train_steps(data, plan, held=data))
    assert engine.diffusion_steps == 2 and reports[-1].held_out_loss is not None
    assert [report.patches is not None for report in reports] == [objective == "mixed"] * 2
    sampling = DiffusionSampling(steps=2, seed=1)
    filling, _ = run(engine.diffusion_sample_steps(Template.between(b"The ", 6, b" of"), sampling))
    assert len(filling.data) == len(filling.drawn) == 6


def test_what_patches_cannot_be_trained_with_is_refused_before_anything_changes(data: ByteData) -> None:
    engine = an_engine()
    before = engine.config
    for refused, reason in (
        (lambda: next(engine.train_steps(data, TrainingPlan(steps=1, carry=True))), "carry=true.*or use architecture='byte'"),
        (lambda: engine.train_full_sequence(data, ctx_bits=270), "carries no keys and values"),
        (lambda: run(engine.infer_long_steps(data.array, ctx_bits=270, overlap=90, carry=True)), "read without carrying"),
        (lambda: engine.set_training(TrainingConfig(compile=True)), "another number of patches: train with compile=false"),
        (lambda: an_engine(training={"compile": True}), "train with compile=false"),
    ):
        with pytest.raises(ConfigError, match=reason):
            refused()
    assert engine.config == before and engine.step == 0


@pytest.mark.parametrize("lambdas", [{"lambda_k": 0.0}, {"lambda_s": 0.0}])
def test_the_composite_loss_is_of_what_is_asked_for(data: ByteData, lambdas: dict[str, float]) -> None:
    """S takes part as in byte models: a whole distribution of each byte is at hand."""
    plain, asked = an_engine(), an_engine()
    asked.set_telemetry(TelemetryConfig(composite_loss=1.0, **lambdas))
    losses = [[report.loss for report in engine.train_steps(data, TrainingPlan(steps=3))] for engine in (plain, asked)]
    assert losses[0][0] == losses[1][0] and losses[0][2] != losses[1][2]


def test_answers_come_from_windows_and_a_longer_window_keeps_them(data: ByteData) -> None:
    engine = an_engine(use_act=True, act_threshold=0.8)
    reports = list(engine.train_steps(data, TrainingPlan(steps=3)))
    assert reports[-1].halt_probs and reports[-1].mean_layers == 1.0  # of one layer
    part = np.frombuffer(data.array[:150].tobytes(), np.uint8)
    found = run(engine.infer_long_steps(part, ctx_bits=270, overlap=90))
    assert found.ctx_bits == 270 and len(found.predicted) == 150 and len(found.windows) == 7
    window = torch.from_numpy(part[:64].astype(np.int64))[None]
    before = engine.model.path_logits(window)  # type: ignore[union-attr]
    likely = run(engine.evaluate_steps(part[:60])).bits_per_byte
    engine.expand_positional_encoding(200)
    torch.testing.assert_close(engine.model.path_logits(window), before, rtol=0, atol=0)  # type: ignore[union-attr]
    assert run(engine.evaluate_steps(part[:60])).bits_per_byte == pytest.approx(likely, rel=1e-6)
    assert engine.model.path_logits(torch.from_numpy(part.astype(np.int64))[None]).shape == (1, 150, 8)  # type: ignore[union-attr]
    again = Engine.from_state(*engine.state())
    generation, _ = run(again.infer_steps(b"The ", 90, SamplingConfig(seed=2)))
    assert len(generation.data) == 90
    list(again.train_steps(data, TrainingPlan(steps=1)))


def test_compression_by_a_model_gives_everything_back(data: ByteData) -> None:
    engine = an_engine(mixing=True, use_act=True)
    list(engine.train_steps(data, TrainingPlan(steps=8)))
    codec = ModelCodec(engine.model, engine.mixer)
    for part in (b"", data.array[:100].tobytes()):
        packed = run(codec.compress_steps(np.frombuffer(part, np.uint8)))
        assert run(decompress_steps(packed, codec)).tobytes() == part
    engine.model.entropy.theta += 0.5  # type: ignore[union-attr]
    with pytest.raises(ContainerError):
        run(decompress_steps(packed, ModelCodec(engine.model, engine.mixer)))


def test_damage_is_repaired_by_what_a_model_knows(data: ByteData) -> None:
    engine = an_engine(mixing=True)
    list(engine.train_steps(data, TrainingPlan(steps=3)))
    damaged = data.array[:400].copy()
    damaged[200:202] ^= 0x15
    found = run(repair_steps(engine.model, engine.mixer, damaged_ranges(damaged, [(200, 2)]), RepairSettings(adaptive=False)))
    kept = found.restored
    assert found.offsets.tolist() == [200, 201]
    assert np.array_equal(np.delete(kept, [200, 201]), np.delete(damaged, [200, 201])) and len(kept) == 400
