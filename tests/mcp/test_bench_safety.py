"""`bitlm bench safety`: its last line, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bitlm_core
from bitlm_core.bench.safety import Kind, SafetyReport
from bitlm_mcp import cli


def test_its_last_line_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def steps(data: bytes, others: Any, config: Any, **options: Any) -> Any:
        asked.update(options, data=data, others=others)
        yield 0.5
        names = ("healthy", "untrained", "one byte", "cycle", "noise", "other b")
        kinds = tuple(Kind(name, 512, 10, float(name == "healthy"), 1.0, 0.0) for name in names)
        yield SafetyReport(kinds, 2.0, 1.0, 2.0, 160)

    monkeypatch.setattr(bitlm_core, "safety_steps", steps)
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / "b").write_bytes(b"other")
    arguments = ["--data", str(tmp_path / "a"), "--other", str(tmp_path / "b"), "--seconds", "2"]
    found = CliRunner().invoke(cli.app, ["bench", "safety", *arguments])
    assert found.exit_code == 0, found.output
    figures = json.loads(found.stdout.splitlines()[-1])
    assert figures["passed_healthy"] == 1 and figures["caught_other_data"] == 1 and figures["triggered_other_b_512"] == 0
    assert all(not isinstance(value, dict | list) for value in figures.values())
    assert asked["others"] == {"b": b"other"} and asked["seconds"] == 2 and asked["data"] == b"data"
    assert "other b" in found.stdout


def test_a_file_too_small_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    found = CliRunner().invoke(cli.app, ["bench", "safety", "--data", str(tmp_path / "a"), "--json"])
    assert found.exit_code == 1 and "20,480 bytes" in found.stderr and not found.stdout
