"""`bitlm bench serve`: it measures both sides, and its last line is JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from dummy_process import ENV


def test_the_last_line_is_json_with_every_figure() -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "bench", "serve", "--turns", "3"]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    found = json.loads(lines[-1])
    assert [line.split()[0] for line in lines[:-1]] == list(found)
    assert found["calls"] == 300 and found["turns"] == 3 and found["tools_list_bytes"] > 10_000
    assert all(found[name] > 0 for name in ("sdk_ms", "ours_ms", "list_models_ms", "list_jobs_ms", "start_to_end_cpu_s"))


@pytest.mark.slow
def test_several_processes_are_measured_beside_one() -> None:
    """Quicker: several processes in test_fleet.py, the benchmark without them above."""
    command = [sys.executable, "-m", "bitlm_mcp", "bench", "serve", "--turns", "3", "--processes", "2", "--seconds", "0.5"]
    done = subprocess.run([*command, "--json"], env=ENV, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert found["processes"] == 2 and found["turns"] == 3
    asked = [f"{tool}_per_s_{which}" for tool in ("list_models", "infer") for which in ("one", "all")]
    assert all(found[name] > 0 for name in asked)
