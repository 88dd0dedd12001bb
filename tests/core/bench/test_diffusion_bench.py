"""`bitlm bench diffusion`: what it reports, how holes are filled, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

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
from bitlm_core.bench.diffusion import fill_greedily
from bitlm_core.models.output import byte_log_probs
from bitlm_core.steps import finished
from tests.core.models.networks import a_model, some_bytes


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


@torch.no_grad()
def test_a_hole_is_filled_most_certain_first_and_never_seen() -> None:
    model, data = a_model("byte"), some_bytes(3)
    filled = fill_greedily(model, data, slice(10, 12))
    secret = data.clone()
    secret[:, 10:12] ^= 255
    assert torch.equal(fill_greedily(model, secret, slice(10, 12)), filled)
    assert torch.equal(filled[:, :10], data[:, :10]) and torch.equal(filled[:, 12:], data[:, 12:])
    for row in range(3):
        known, now = torch.full((1, 24), 255), data[row : row + 1].clone()
        known[0, 10:12] = 0
        for _ in range(2):
            found = byte_log_probs(model.predict_masked(now, known).nodes[0])
            place = max((p for p in (10, 11) if known[0, p] == 0), key=lambda p: float(found[p].max()))
            now[0, place], known[0, place] = found[place].argmax(), 255
        assert torch.equal(now[0], filled[row])


def test_holes_are_filled_as_diffusion_sample_fills_them_at_temperature_0(byte_engine: Engine, text: bytes) -> None:
    model, window = byte_engine.model, 32
    assert model is not None
    rows = [text[start : start + window] for start in (50_000, 60_000, 70_000)]
    data = torch.tensor([list(row) for row in rows])
    found = fill_greedily(model, data, slice(14, 18))
    for row, told in zip(rows, found, strict=True):
        gap = Template.between(row[:14], 4, row[18:])
        filling, _ = finished(byte_engine.diffusion_sample_steps(gap, DiffusionSampling(temperature=0.0)))
        assert list(filling.data) == told[14:18].tolist() and filling.order == "confidence"


def test_what_cannot_be_done_is_refused(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    for plan in (TrainingPlan(steps=1, objective="diffusion"), TrainingPlan(seconds=1)):
        with pytest.raises(ConfigError, match="give seconds"):
            next(diffusion_bench_steps(text, config_of("byte"), plan, threads=1))
    with pytest.raises(ConfigError, match="has 100 bytes"):
        next(diffusion_bench_steps(text[:1000], config_of("byte"), TrainingPlan(seconds=1, objective="mixed"), threads=1))
