"""`bitlm bench compress` and `bitlm bench records`: their last lines, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bitlm_mcp import cli

LINES = b"".join(b'{"id": %d, "load": 0.%d}\n' % (i, i * 7 % 50) for i in range(60))


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["bench", *map(str, arguments)])


def last_line(*arguments: object) -> dict[str, Any]:
    found = invoked(*arguments)
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout.splitlines()[-1]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    path.write_bytes(LINES)
    return path


def test_files(file: Path) -> None:
    found = last_line("compress", file, "--no-peers")
    assert list(found) == ["files", "geometric_mean_bpb", "peers", "machine"] and found["peers"] == {}
    assert list(found["files"]["lines"]) == ["num_bytes", "bpb", "seconds", "decode_seconds", "peak_bytes"]
    assert found["geometric_mean_bpb"] == found["files"]["lines"]["bpb"] < 3
    (file.parent / "other").mkdir()
    twin = file.parent / "other" / "lines"
    twin.write_bytes(LINES[:600])
    both = last_line("compress", file, twin, "--json")
    assert list(both["files"]) == list(both["peers"]["xz"]["files"]) == [str(file), str(twin)]
    larger, smaller = both["peers"]["xz"]["files"].values()
    assert larger < both["peers"]["xz"]["geometric_mean_bpb"] < smaller
    assert "gzip" in invoked("compress", twin).stdout


def test_records(file: Path) -> None:
    found = last_line("records", "--train", file, "--test", file, "--no-peers", "--memory-mib", 8)
    assert list(found)[:2] == ["bpb", "bytes_per_second"] and found["bpb"] < 2
    assert len(invoked("records", "--train", file, "--test", file, "--json").stdout.splitlines()) == 1


def test_what_cannot_be_measured_ends_with_one_line(file: Path) -> None:
    absent = file.with_name("absent")
    for arguments in (("compress", absent), ("records", "--train", file, "--test", absent)):
        found = invoked(*arguments)
        assert found.exit_code == 1 and found.stderr == f"bitlm: there is no file {absent}: give one that there is\n"
    found = invoked("records", "--train", file, "--test", file, "--format", "tsv-hex")
    assert found.exit_code == 1 and "line 1" in found.stderr and found.stderr.count("\n") == 1
