"""Judges from outside need programs that are not ours: `make judges` installs them, and `--judges` says which are there.

none: nothing is collected; python: those that come from PyPI; all: those that need Node too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dummy_process import ENV, START_S, until

HERE = Path(__file__).parent
PYTHON_JUDGES = ["test_fastmcp.py", "test_lighthouse.py", "test_registry.py"]
collect_ignore: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    there = config.getoption("--judges")
    if there != "all":
        collect_ignore.extend(path.name for path in HERE.glob("test_*.py") if there == "none" or path.name not in PYTHON_JUDGES)


def serve_command(state: Path, *options: str) -> list[str]:
    """The server as hosts start it."""
    return [sys.executable, "-m", "bitlm_mcp", "serve", "--state-dir", str(state), "--threads", "1", *options]


@pytest.fixture(scope="session")
def programs() -> dict[str, str]:
    """The environment of the judges: their programs first in the path, ours importable."""
    folders = [HERE / ".venv" / "bin", HERE / "node_modules" / ".bin"]
    return ENV | {"PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]])}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that all judges over HTTP share."""
    state = tmp_path_factory.mktemp("state")
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(serve_command(state, "--http", "--port", "0"), stderr=log, env=ENV)
        try:
            found = until(lambda: re.search(r"http://[\d.]+:\d+", (state / "log").read_text()), START_S, "the server listens")
            yield found.group()
        finally:
            process.terminate()
            assert process.wait(20) == 0
