"""fastmcp's client, with its tasks client, goes the main path."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.judges.conftest import HERE, serve_command

LIMIT_S = 200


@pytest.mark.parametrize(("mode", "transport"), [("auto", "http"), ("legacy", "sse"), ("auto", "stdio")])
def test_the_journey(mode: str, transport: str, base: str, programs: dict[str, str], tmp_path: Path) -> None:
    target = {"stdio": serve_command(tmp_path / "state"), "sse": [f"{base}/sse"], "http": [f"{base}/mcp"]}[transport]
    found = subprocess.run(
        [str(HERE / ".venv" / "bin" / "python"), str(HERE / "fastmcp_journey.py"), mode, *target],
        env=programs, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    assert {"init_model", "train_step", "infer", "infer_long"} <= set(json.loads(found.stdout))
