"""`bitlm bench distill`: its last line, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitlm_mcp import cli


def test_its_last_line_is_flat_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:3_000])
    given = ["--data", str(tmp_path / "data"), "--teacher-seconds", "0.3", "--seconds", "0.1", "--preset", "tiny"]
    found = CliRunner().invoke(cli.app, ["bench", "distill", *given, "--d-model", "32", "--num-clusters", "2"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout.splitlines()[-1])
    assert 0 < report["parameters_share"] < 0.3 and 0 < report["outside_tables_share"] < 0.3
    gain = (8 - report["bpb_student"]) / (8 - report["bpb_teacher"])
    assert report["gain_kept"] == pytest.approx(gain, abs=0.02)
    assert report["seconds_alone"] >= report["seconds_student"] >= 0.1 and report["steps_alone"] > 0
    assert report["bytes_scored"] == 300 and report["preset"] == "tiny" and 0 < report["bpb_alone"] < 9
    assert all(isinstance(value, int | float | str | None) for value in report.values())


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"too short")
    found = CliRunner().invoke(cli.app, ["bench", "distill", "--data", str(tmp_path / "data")])
    assert found.exit_code == 1 and "give at least 20" in found.output and "Traceback" not in found.output
