"""mcp-lighthouse scores how well the server can be used by agents."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from tests.judges.conftest import serve_command

AT_LEAST = 95


def test_the_score(programs: dict[str, str], tmp_path: Path) -> None:
    found = subprocess.run(
        ["mcp-lighthouse", "scan", "--stdio", shlex.join(serve_command(tmp_path / "state")), "--timeout", "60", "--verbose"],
        env=programs, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    scores = [int(score) for score in re.findall(r"(\d+)/100", found.stdout)]
    assert scores and min(scores) >= AT_LEAST, found.stdout
