"""The comparison of a network that grows with the size it grows to, once in small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitlm_core import ConfigError, ProgressiveConfig, TrainingConfig, preset_config
from bitlm_core.bench.progressive import ProgressiveReport, ProgressiveTrial, progressive_bench_steps
from bitlm_core.models.config import count_parameters


def trial(seconds: float) -> ProgressiveTrial:
    small = preset_config("tiny", d_model=16, nhead=1, num_layers=1, max_seq_len=32, ngram_rows=0)
    settings = ProgressiveConfig(improve_threshold=0.999, window=1, patience=1, warmup_steps=1, cycle=("width",))
    return ProgressiveTrial(small, settings, TrainingConfig(batch_size=1), seconds, validate_every=1)


def test_the_final_size_is_the_cycle_once() -> None:
    made = replace(trial(1.0), settings=ProgressiveConfig(cycle=("layer", "width", "layer")))
    assert (made.final.num_layers, made.final.d_model) == (3, 32)
    assert made.rule.max_parameters == count_parameters(made.final)


def test_three_runs_are_compared(text: bytes) -> None:
    *shares, report = progressive_bench_steps(text[:4000], trial(0.3))
    assert shares == sorted(shares) and 0 < shares[-1] <= 1
    assert isinstance(report, ProgressiveReport)
    told = report.flat()
    assert told["reached"] == (report.bpb_progressive <= report.bpb_final) and 0 < report.bpb_start < 12
    assert report.cpu_seconds_progressive >= 0.24 and report.cpu_seconds_final >= 0.3
    assert report.growths == report.grown_to_final and (report.grown_at is None) == (report.growths == 0)
    assert report.num_parameters_start < report.num_parameters_final


def test_data_of_which_nothing_can_be_held_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="too few"):
        next(progressive_bench_steps(b"ab", trial(1.0)))
