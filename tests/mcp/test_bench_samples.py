"""`bitlm bench samples`: once in small, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bitlm_core.bench import diffusion_samples
from bitlm_mcp import cli


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["bench", "samples", *arguments])


def test_samples_tells_three_figures_of_the_first_way_and_of_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: bytes
) -> None:
    monkeypatch.setattr(diffusion_samples, "SAMPLES", 2)
    path = tmp_path / "text"
    path.write_bytes(text[:20_000])
    ways = ["--orders", "confidence,flip", "--steps", "3", "--temperature", "0.5"]
    found = invoked("--data", str(path), "--seconds", "0.2", "--preset", "tiny", *ways)
    assert found.exit_code == 0, found.output
    assert all(word in found.stdout for word in ("text", "flip"))
    told = json.loads(found.stdout.splitlines()[-1])
    figures = ["bpb", "byte_entropy", "distinct_4grams"]
    of_text = [f"{name}_of_text" for name in figures]
    assert list(told) == ["order", "steps", "temperature", *figures, *of_text, "seconds", "machine"]
    assert (told["order"], told["steps"], told["temperature"]) == ("confidence", 3, 0.5)
    assert 3 < told["byte_entropy_of_text"] < 6 and 0 < told["byte_entropy"] <= 8 and 0 < told["bpb"] < 20
    assert 0.8 < told["distinct_4grams_of_text"] <= 1  # of two pieces of 128 bytes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--orders", "best"], "order='best'"),
        (["--temperature", "hot"], "no temperature"),
        (["--steps", "65"], "steps=65"),
    ],
)
def test_ways_that_are_none_end_with_one_line(arguments: list[str], words: str) -> None:
    found = invoked(*arguments)
    assert found.exit_code == 1 and words in found.stderr and len(found.stderr.splitlines()) == 1
