"""`bitlm score` and `bitlm bench anomaly`: what they print, what they draw, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result
from workspaces import Server

from bitlm_core import AnomalyReport, CheckpointStore
from bitlm_mcp import cli
from bitlm_mcp.operations.models import save

NORMAL = "".join(f"user {n % 7} logged in from host {n % 5}\n" for n in range(60)).encode()
ODD = b"user 3 DROP TABLE \x00\xff accounts!\n"


def invoked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def scored(*arguments: str | Path) -> dict[str, Any]:
    found = invoked("score", *arguments, "--json")
    assert found.exit_code == 0, found.output
    (line,) = found.stdout.splitlines()
    return dict(json.loads(line))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = NORMAL.splitlines(keepends=True)
    (tmp_path / "log").write_bytes(b"".join([*lines[:50], ODD, *lines[50:]]))
    return tmp_path / "log"


def test_a_file_is_scored_by_itself(log: Path) -> None:
    found = scored(log, "--records", "lines", "--top", "4")
    assert found["num_records"] == 61 and found["num_bytes"] == log.stat().st_size and 0 < found["bits_per_byte"] < 4
    assert found.keys().isdisjoint({"bits_per_byte_static", "bits_per_byte_network", "num_learned"})
    assert 50 in [record["record"] for record in found["records"]] and len(found["records"]) == len(found["spans"]) == 4
    assert all(bytes.fromhex(span["hex"]) in log.read_bytes() for span in found["spans"])
    whole = scored(log)
    assert whole["records"] == [] and len(whole["spans"]) == 10


def test_people_see_tables_and_a_picture(log: Path) -> None:
    picture = log.with_name("out.svg")
    found = invoked("score", log, "--records", "lines", "--heatmap", picture)
    assert found.exit_code == 0 and "bits_per_byte" in found.stdout and "DROP TABLE" in found.stdout and "·" in found.stdout
    cells = ElementTree.fromstring(picture.read_text("utf-8"))  # noqa: S314 - our own
    assert sum(element.tag.endswith("}g") for element in cells.iter()) == log.stat().st_size


def test_a_model_or_a_checkpoint_knows_what_is_odd(log: Path, tmp_path: Path) -> None:
    server, state = Server(tmp_path / "state"), ["--state-dir", tmp_path / "state"]
    server.create(mixing=True)
    server.completed(save(server.workspace, "kept", "m", overwrite=False, pinned=False))
    by_model, by_checkpoint = (scored(log, "--model", name, "--records", "lines", *state) for name in ("m", "kept"))
    assert by_model == by_checkpoint and by_model["bits_per_byte_network"] == pytest.approx(8.0)
    file = CheckpointStore(tmp_path / "state" / "checkpoints").verified_path("kept")
    assert scored(log, "--model", file, "--records", "lines") == by_model
    adaptive = scored(log, "--model", "m", "--records", "lines", "--adaptive", *state)
    assert 0 < adaptive["num_learned"] <= 30 and adaptive["records"][0]["record"] == 50
    found = invoked("score", log, "--model", "absent", *state)
    assert found.exit_code == 1 and "no file, checkpoint or model 'absent'" in found.stderr and " has kept, m:" in found.stderr


REFUSED = [
    (["--adaptive"], "needs a --model"),
    (["--records", "line"], "give one of these"),
    (["--records", "fixed:1000"], "has only"),
    (["--records", "pcap"], "no capture file"),
    (["--heatmap", "/nowhere/out.svg"], "No such file or directory"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED)
def test_refusals_are_one_line(log: Path, arguments: list[str], text: str) -> None:
    found = invoked("score", log, *arguments)
    assert found.exit_code == 1 and text in found.stderr and len(found.stderr.splitlines()) == 1


def test_absent_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "0 bytes" in invoked("score", tmp_path / "empty").stderr
    assert "No such file" in invoked("score", tmp_path / "absent").stderr


def test_bench_anomaly_ends_with_its_figures(log: Path) -> None:
    train, test = log.with_name("train"), log.with_name("test")
    lines = [b"- " + line for line in NORMAL.splitlines(keepends=True)]
    train.write_bytes(b"".join(lines))
    test.write_bytes(b"".join([*lines[:20], b"E " + ODD, *lines[20:30]]))
    found = invoked("bench", "anomaly", "--train", train, "--test", test, "--format", "lines")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout.splitlines()[-1])
    assert report.keys() == set(AnomalyReport.__dataclass_fields__) >= {"auroc", "average_precision", "statistic"}
    assert report["auroc"] == report["average_precision"] == 1.0 and isinstance(report["statistic"], str)
    alone = invoked("bench", "anomaly", "--train", train, "--test", test, "--json")
    assert json.loads(alone.stdout) | {"cpu_seconds": 0} == report | {"cpu_seconds": 0}
    refused = invoked("bench", "anomaly", "--train", train, "--test", test, "--format", "csv")
    assert refused.exit_code == 1 and "line 1 is no header" in refused.stderr
