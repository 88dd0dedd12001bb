"""`bitlm bench scaling`: what it tells, and what it refuses. How large its figures are depends on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mcp.command_line import done, refused

SMALL = ("--preset", "tiny", "--batch-size", "2", "--turns", "1", "--steps", "1")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_bytes(b"again and again and " * 200)
    return path


@pytest.mark.slow
def test_two_processes_are_measured_beside_one(text: Path) -> None:
    told = json.loads(done("bench", "scaling", "--data", text, "--parallel", "ddp,pipeline", *SMALL, "--json").splitlines()[-1])
    assert (told["processes"], told["rows"]) == (2, 2)
    for way in ("ddp", "pipeline"):
        assert 0 < told[f"{way}_efficiency"] < 2
        assert told[f"{way}_expected"] == pytest.approx(
            told[f"{way}_alone_ms"] / (told[f"{way}_alone_ms"] + told[f"{way}_exchange_ms"]), rel=1e-3
        )


def test_what_cannot_be_shared_is_refused_before_a_process_starts(text: Path) -> None:
    for way in ("tensor", ""):
        assert f"{way!r} is no way to share a training" in refused("bench", "scaling", "--parallel", way, *SMALL)
    many = refused("bench", "scaling", "--data", text, "--parallel", "pipeline", "--nproc", "64", *SMALL)
    assert "are fewer than 64 processes" in many
