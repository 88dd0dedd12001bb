"""`bitlm bench progressive`: what is asked for becomes the trial, and the report the last line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import bitlm_core
from bitlm_core import ProgressiveReport, ProgressiveTrial
from tests.mcp.command_line import done, refused


def test_the_trial_is_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(b"some data")
    seen: list[tuple[bytes, ProgressiveTrial]] = []
    numbers = dict.fromkeys(ProgressiveReport.__dataclass_fields__, 1)

    def steps(data: bytes, trial: ProgressiveTrial) -> Iterator[float | ProgressiveReport]:
        seen.append((data, trial))
        yield 0.5
        yield ProgressiveReport(**numbers)  # type: ignore[arg-type]

    monkeypatch.setattr(bitlm_core, "progressive_bench_steps", steps)
    asked = ("--seconds", 9, "--share", 0.5, "--growths", "layer,width", "--warmup-steps", 7, "--validate-every", 3)
    told = json.loads(done("bench", "progressive", "--data", tmp_path / "data", *asked, "--json"))
    assert told == {**numbers, "preset": "tiny", "growths": "layer,width"}
    ((data, trial),) = seen
    assert (data, trial.seconds, trial.share, trial.validate_every) == (b"some data", 9, 0.5, 3)
    assert (trial.settings.cycle, trial.settings.warmup_steps) == (("layer", "width"), 7)
    assert (trial.final.num_layers, trial.final.d_model) == (3, 256)
    assert "'depth' is no way to grow" in refused("bench", "progressive", "--growths", "depth")
