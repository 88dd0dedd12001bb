"""`bitlm telemetry …` and `bitlm bench telemetry`: pictures, figures, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import bitlm_core
from bitlm_mcp import cli
from bitlm_mcp.operations.models import save
from tests.mcp.workspaces import server


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def test_models_and_checkpoints_are_drawn(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.data()
        made.create()
        made.create("fresh")
        made.trained(steps=4)
        made.completed(save(made.workspace, "kept", "m", overwrite=False, pinned=False))
    for how in (["--model", "m"], ["--checkpoint", "kept"]):
        out = tmp_path / f"{how[1]}.svg"
        found = invoked("telemetry", "plot", out, *how, "--state-dir", tmp_path)
        assert found.exit_code == 0 and "4 recorded steps" in found.output
        assert "bits per byte" in out.read_text() and "K, C, S" in out.read_text()
    wrong = tmp_path / "wrong.svg"
    for how, expected in (
        ([], "exactly one of --model and --checkpoint"),
        (["--model", "m", "--checkpoint", "kept"], "exactly one"),
        (["--model", "kept"], "give --checkpoint kept"),
        (["--model", "none"], "none"),
        (["--model", "fresh"], "no recorded steps"),
    ):
        refused = invoked("telemetry", "plot", wrong, *how, "--state-dir", tmp_path)
        assert refused.exit_code == 1 and expected in refused.stderr and not wrong.exists()


def test_data_is_measured_as_the_core_does(tmp_path: Path, text: bytes) -> None:
    file, other = tmp_path / "data", tmp_path / "other"
    file.write_bytes(text[:4000])
    other.write_bytes(text[4000:9000])
    found = json.loads(invoked("telemetry", "measure", file, "--block-bits", 4, "--against", other, "--json").stdout)
    bits = bitlm_core.bytes_to_bits(text[:4000], parity="none")
    wanted = bitlm_core.measure_bits(bits, bitlm_core.byte_histogram(text[4000:9000]), parity="none", k=4)
    assert {name: found[name] for name in ("k", "c", "s", "transition_rate", "symbiosis_kl")} == {
        name: getattr(wanted, name) for name in ("k", "c", "s", "transition_rate", "symbiosis_kl")
    }
    assert invoked("telemetry", "measure", file).stdout.startswith("num_bytes")
    (tmp_path / "empty").touch()
    refused = invoked("telemetry", "measure", tmp_path / "empty")
    assert refused.exit_code == 1 and "0 bytes" in refused.stderr


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--drift-runs", "0"]])
def test_the_benchmark_refuses_nothing_to_do(arguments: list[str]) -> None:
    assert invoked("bench", "telemetry", *arguments).exit_code == 2


def test_the_benchmark_ends_with_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:3000])
    sizes = ["--preset", "tiny", "--steps", "1", "--drift-runs", "3", "--data", tmp_path / "data"]
    found = invoked("bench", "telemetry", *sizes, "--json")
    (line,) = found.stdout.splitlines()
    assert json.loads(line).keys() == set(bitlm_core.TelemetryReport.__dataclass_fields__)
