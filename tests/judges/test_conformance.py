"""The protocol's own conformance suite against our app, with the fixtures of `conformance_server.py` added to it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from dummy_process import ENV, START_S, until

HERE = Path(__file__).parent
LIMIT_S = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as found:  # noqa: S310 - an address of this machine
            return int(found.status) == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture
def app(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, str(HERE / "conformance_server.py"), str(tmp_path / "state"), str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENV)
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/health"), START_S, "the server listens")
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()
            assert process.wait(20) == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("options", "checks"),
    [
        (["--requirements", "2026-07-28"], 196),
        (["--requirements", "2025-11-25"], 84),
        (["--suite", "all"], 234),
    ],
    ids=["modern", "legacy", "all"],
)
def test_every_check_passes(options: list[str], checks: int, app: str, programs: dict[str, str], tmp_path: Path) -> None:
    found = subprocess.run(
        ["conformance", "server", "--url", app, *options],
        cwd=tmp_path, env=programs, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    failed = re.findall(r"^✗.*", found.stdout, re.MULTILINE)
    total = re.search(r"^Total: (\d+) passed, (\d+) failed", found.stdout, re.MULTILINE)
    assert total is not None, found.stdout[-2000:] + found.stderr[-2000:]
    assert (int(total[1]), int(total[2]), failed) == (checks, 0, [])
