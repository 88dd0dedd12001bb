"""`bitlm bench diffusion`: what it reports, how holes are filled, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bitlm_core import (
    ConfigError,
    DiffusionReport,
    DiffusionSampling,
    Engine,
    EngineConfig,
    Template,
    TrainingPlan,
    diffusion_bench_steps,
)
from bitlm_core.bench import diffusion, diffusion_samples
from bitlm_core.steps import finished

SHARP = DiffusionSampling(temperature=0.0)


@pytest.mark.parametrize("objective", ["diffusion", "mixed"])
def test_it_trains_on_the_first_part_and_fills_the_rest(
    objective: str, config_of: Callable[..., EngineConfig], text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "HOLES", 8)
    config = config_of("byte", mixing=None)
    plan = TrainingPlan(seconds=0.4, objective=objective)  # type: ignore[arg-type]
    *shares, report = diffusion_bench_steps(text[:20_000], config, plan, threads=1)
    assert isinstance(report, DiffusionReport)
    assert shares == sorted(shares) and shares[-1] == 1.0  # type: ignore[type-var]
    assert report.steps == len(shares) and report.bytes_seen == report.steps * config.training.batch_size * 64
    assert report.bytes_scored == 2_000 and report.cpu_seconds >= 0.4 and 3 < report.bpb_bound < 8.5
    assert (report.bpb_causal is not None) == (objective == "mixed")
    assert all(0 <= share <= 1 for share in (report.holes_1, report.holes_2, report.holes_4))
    assert report.samples_bpb is None


def test_samples_are_judged_after_as_long_again(
    config_of: Callable[..., EngineConfig], text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "HOLES", 2)
    monkeypatch.setattr(diffusion_samples, "SAMPLES", 2)
    plan = TrainingPlan(seconds=0.2, objective="diffusion")
    config = config_of("byte", mixing=None)
    *shares, report = diffusion_bench_steps(text[:20_000], config, plan, threads=1, sampled=True)
    assert isinstance(report, DiffusionReport) and report.steps < len(shares)
    assert shares == sorted(shares) and shares[report.steps - 1] == 0.5 and shares[-1] == 1.0  # type: ignore[type-var]
    assert report.samples_bpb and report.samples_byte_entropy and report.samples_distinct_4grams


def test_holes_are_filled_as_diffusion_sample_fills_them_at_temperature_0(
    byte_engine: Engine, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "HOLES", 3)
    monkeypatch.setattr(diffusion, "HOLE_WINDOW", 32)
    assert byte_engine.model is not None
    data, right = text[50_000:51_000], 0
    for start in (0, 484, 968):
        row = data[start : start + 32]
        filling, _ = finished(byte_engine.diffusion_sample_steps(Template.between(row[:14], 4, row[18:]), SHARP))
        assert filling.order == "confidence" and filling.steps == 4
        right += sum(told == known for told, known in zip(filling.data, row[14:18], strict=True))
    assert diffusion.restored(byte_engine.model, np.frombuffer(data, np.uint8), 4) == right / 12


def test_what_cannot_be_done_is_refused(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    for plan in (TrainingPlan(steps=1, objective="diffusion"), TrainingPlan(seconds=1)):
        with pytest.raises(ConfigError, match="give seconds"):
            next(diffusion_bench_steps(text, config_of("byte"), plan, threads=1))
    with pytest.raises(ConfigError, match="has 100 bytes"):
        next(diffusion_bench_steps(text[:1000], config_of("byte"), TrainingPlan(seconds=1, objective="mixed"), threads=1))
