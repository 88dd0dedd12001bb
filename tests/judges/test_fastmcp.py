"""fastmcp's client, with its tasks client, goes the main path; over SSE and HTTP in test_fastmcp_http.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.judges.conftest import HERE, serve_command

LIMIT_S = 200


def test_the_journey_over_stdio(programs: dict[str, str], tmp_path: Path) -> None:
    goes_the_main_path("auto", serve_command(tmp_path / "state"), programs)


def goes_the_main_path(mode: str, target: list[str], programs: dict[str, str]) -> None:
    found = subprocess.run(
        [str(HERE / ".venv" / "bin" / "python"), str(HERE / "fastmcp_journey.py"), mode, *target],
        env=programs, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    assert {"init_model", "train_step", "infer", "infer_long"} <= set(json.loads(found.stdout))
