"""The soak itself, for some seconds: all transports work under it, and the report is whole. Its bounds are `make soak`'s."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.soak.soak import KINDS, missed

ROOT = Path(__file__).parents[2]


def test_all_clients_call_without_an_error() -> None:
    command = [sys.executable, "-m", "tests.soak.soak", "--seconds", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["errors"] == 0 and report["exit_code"] == 0, done.stderr
    assert report["clients"] == len(KINDS) == 24 and report["calls"] > 24 and report["lag_samples"] > 0


def test_what_is_missed_is_named() -> None:
    good = {"errors": 0, "memory_growth": -0.1, "lag_p99_at_most_s": 0.05, "telemetry_p50_ratio": 2.0}
    assert missed(good) == []
    assert missed(good | {"errors": 1, "lag_p99_at_most_s": float("inf")}) == [
        "errors is 1, the bound is 0",
        "lag_p99_at_most_s is inf, the bound is 0.05",
    ]
