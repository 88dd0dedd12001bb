"""`bitlm bench learn`: what it reports, and that its last line is JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bitlm_core import ConfigError, EngineConfig, LearnReport, MixingConfig, learn_steps, preset_config
from bitlm_core.bench import learn
from tests.mcp.command_line import done, invoked


def test_it_trains_on_the_first_part_and_scores_the_rest(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    config = config_of("byte")
    *shares, report = learn_steps(text[:20_000], config, seconds=0.5, threads=1)
    assert isinstance(report, LearnReport)
    assert shares == sorted(shares) and shares[-1] == 1.0  # type: ignore[type-var]
    assert report.steps == len(shares) and report.bytes_seen == report.steps * config.training.batch_size * 64
    assert report.bytes_scored == 2_000 and report.cpu_seconds >= 0.5
    assert report.bpb_online < report.bpb_static < report.bpb_network < 8.5
    assert report.seconds_to_2739 is None
    assert report.flat().keys() == vars(report).keys() and report.machine in str(report.flat())


def test_mixed_learning_is_told_by_its_bound_too(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    config = config_of("byte", mixing=None)
    *_, report = learn_steps(text[:5_000], config, seconds=0.2, threads=1, objective="mixed")
    assert isinstance(report, LearnReport) and report.bpb_bound is not None and report.bpb_network is not None
    assert 3 < report.bpb_bound < 9 and 3 < report.bpb_network < 9
    *_, report = learn_steps(text[:5_000], config, seconds=0.1, threads=1)
    assert isinstance(report, LearnReport) and report.bpb_bound is None


def test_it_says_when_the_target_was_reached(config_of: Callable[..., EngineConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "TARGET", 8.5)
    *shares, report = learn_steps(b"abcd" * 500, config_of("byte", mixing=None), seconds=0.3, threads=1)
    assert isinstance(report, LearnReport) and report.seconds_to_2739 is not None
    assert 0.3 / learn.LOOKS <= report.seconds_to_2739 <= report.cpu_seconds
    assert len(shares) == report.steps


def test_without_a_network_it_ends_when_all_is_read(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "LOOKS", 100_000)
    monkeypatch.setattr(learn, "TARGET", 4.0)
    config = EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))
    *shares, report = learn_steps(text[:100_000], config, seconds=500, threads=1)
    assert isinstance(report, LearnReport) and len(shares) == report.steps == 2 and shares[-1] < 1  # type: ignore[operator]
    assert (report.bytes_seen, report.bytes_scored, report.num_parameters) == (90_000, 10_000, 0)
    assert report.bpb_network is None and report.seconds_to_2739 is None
    assert report.bpb_online < report.bpb_static < 3 and report.cpu_seconds < 500
    assert report.seconds_to_2739_mixed is not None and report.seconds_to_2739_mixed < report.cpu_seconds


def test_what_cannot_be_done_is_refused(config_of: Callable[..., EngineConfig]) -> None:
    with pytest.raises(ConfigError, match="less than 2"):
        next(learn_steps(b"ab", config_of("byte"), seconds=1, threads=1))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            next(learn_steps(b"abcd" * 9, config_of("byte"), seconds=1, threads=1, device="cuda"))


def test_its_last_line_is_flat_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:10_000])
    options = ["--data", str(tmp_path / "data"), "--seconds", "1", "--preset", "tiny", "--no-mixing", "--optimizer", "adamw"]
    report = json.loads(done("bench", "learn", *options).splitlines()[-1])
    assert report["bpb_static"] == report["bpb_network"] == report["bpb_online"] < 8
    assert all(isinstance(value, int | float | str | None) for value in report.values())
    refused = invoked("bench", "learn", *options, "--preset", "huge")
    assert refused.exit_code == 2 and "small" in refused.stderr
