"""`bitlm demo` end to end on a small file, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dummy_process import ENV

from bitlm_mcp.demo import default_text


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bitlm_mcp", "demo", *options]
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=200, check=False)


def test_the_whole_day_on_a_file_of_the_user(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(text[:6_000])
    found = demo("--data", str(file), "--seconds", "1", "--state-dir", str(tmp_path / "state"))
    assert found.returncode == 0, found.stderr
    for expected in (
        "xz -9e",
        "adapting as it codes",
        "safety gate: passed",
        "telemetry at step",
        "gives the same 240 bytes",
        "mcpServers",
        "infer_long",
    ):
        assert expected in found.stdout
    assert (tmp_path / "state" / "checkpoints" / "demo" / "manifest.json").exists()


def test_a_file_that_is_not_there_ends_it_with_a_message(tmp_path: Path) -> None:
    found = demo("--data", str(tmp_path / "none"), "--state-dir", str(tmp_path / "state"))
    assert found.returncode == 1
    assert "the demo stopped: there is no file" in found.stderr and "Traceback" not in found.stderr


def test_data_that_cannot_be_split_ends_it_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_bytes(b"abc")
    found = demo("--data", str(tmp_path / "tiny"), "--state-dir", str(tmp_path / "state"))
    assert found.returncode == 1 and "too small" in found.stderr and "Traceback" not in found.stderr


def test_the_default_text_is_real_prose() -> None:
    assert len(default_text()) > 100_000 and b"The " in default_text()
