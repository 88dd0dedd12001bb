"""skillsaw holds server.json against the registry's published schema and its rules for publishing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from dummy_process import ROOT


def lint(programs: dict[str, str], folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "server.json").write_text(text)
    return subprocess.run(["skillsaw", "lint", folder], env=programs, capture_output=True, text=True, check=False)


def test_the_registry_would_take_it(programs: dict[str, str], tmp_path: Path) -> None:
    text = (ROOT / "server.json").read_text()
    found = lint(programs, tmp_path, text)
    assert found.returncode == 0 and "mcp-registry" in found.stdout, found.stdout
    wrong = json.loads(text)
    wrong["packages"][0]["version"] = "latest"
    assert lint(programs, tmp_path, json.dumps(wrong)).returncode != 0
