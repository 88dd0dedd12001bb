"""`bitlm bench learn`: what it reports, and that its last line is JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bitlm_core import EngineConfig, LearnReport, learn_steps

ROOT = Path(__file__).parents[3]


def test_it_trains_on_the_first_part_and_scores_the_rest(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    config = config_of("byte")
    *shares, report = learn_steps(text[:20_000], config, seconds=0.5, threads=1)
    assert isinstance(report, LearnReport)
    assert shares == sorted(shares) and shares[-1] == 1.0  # type: ignore[type-var]
    assert report.steps == len(shares) and report.bytes_seen == report.steps * config.training.batch_size * 64
    assert report.bytes_scored == 2_000 and report.cpu_seconds >= 0.5
    assert report.bpb_online < report.bpb_static < report.bpb_network < 8.5


def test_its_last_line_is_flat_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:10_000])
    options = ["--data", str(tmp_path / "data"), "--seconds", "1", "--preset", "tiny", "--no-mixing", "--optimizer", "adamw"]
    command = [sys.executable, "-m", "bitlm_mcp", "bench", "learn", *options]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(found.stdout.splitlines()[-1])
    assert report["bpb_static"] == report["bpb_network"] == report["bpb_online"] < 8
    assert all(isinstance(value, int | float | str) for value in report.values())
    refused = subprocess.run([*command, "--preset", "huge"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "small" in refused.stderr
