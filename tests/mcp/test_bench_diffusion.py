"""`bitlm bench diffusion`: its last line, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitlm_core.bench import diffusion, diffusion_samples
from bitlm_mcp import cli


@pytest.mark.parametrize(
    ("options", "networks"),
    [([], "shared"), (["--no-samples", "--architecture", "bit", "--mask-unit", "bit", "--objective", "mixed"], "plain")],
)
def test_its_last_line_is_flat_json(
    options: list[str], networks: str, tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "HOLES", 4)
    monkeypatch.setattr(diffusion_samples, "SAMPLES", 2)
    (tmp_path / "data").write_bytes(text[:3_000])
    given = ["--data", str(tmp_path / "data"), "--seconds", "0.1", "--preset", "tiny", "--num-layers", "1", *options]
    found = CliRunner().invoke(cli.app, ["bench", "diffusion", *given])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout.splitlines()[-1])
    assert 3 < report["bpb_bound"] < 8.5 and 0 <= report["holes_4"] <= 1 and report["bytes_seen"] > 0
    figures = [report[f"samples_{name}"] for name in ("bpb", "byte_entropy", "distinct_4grams")]
    if "--no-samples" in options:
        assert figures == [None, None, None]
    else:
        assert 0 < figures[0] < 20 and 0 < figures[1] <= 8 and 0 < figures[2] <= 1
    assert report["networks"] == networks and report["num_layers"] == 1
    assert all(isinstance(value, int | float | str | None) for value in report.values())


def test_what_cannot_be_done_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:3_000])
    given = ["bench", "diffusion", "--data", str(tmp_path / "data"), "--preset", "tiny"]
    refused = CliRunner().invoke(cli.app, [*given, "--architecture", "bit", "--networks", "shared"])
    assert refused.exit_code == 1 and "use 'own'" in refused.stderr
