"""The validator of MCP bundles accepts the manifest that `bitlm config mcpb` prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dummy_process import ENV


def test_the_manifest_is_valid(programs: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "config", "mcpb", "--state-dir", str(tmp_path)]
    printed = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True).stdout
    (tmp_path / "manifest.json").write_text(printed)

    def validate() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["mcpb", "validate", "manifest.json"], cwd=tmp_path, env=programs, capture_output=True, text=True, check=False
        )

    assert validate().returncode == 0, validate().stdout
    (tmp_path / "manifest.json").write_text(printed.replace('"binary"', '"unheard-of"'))
    assert validate().returncode != 0
