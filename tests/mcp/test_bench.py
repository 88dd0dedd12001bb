"""`bitlm bench serve`: it measures both sides, and its last line is JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from dummy_process import ENV


def test_the_last_line_is_json_with_every_figure() -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "bench", "serve", "--turns", "3"]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    found = json.loads(lines[-1])
    assert [line.split()[0] for line in lines[:-1]] == list(found)
    assert found["calls"] == 300 and found["turns"] == 3 and found["tools_list_bytes"] > 10_000
    assert all(found[name] > 0 for name in ("sdk_ms", "ours_ms", "list_models_ms", "list_jobs_ms", "start_to_end_cpu_s"))
