"""The image's file: what it says agrees with the program, and its command, health check and end do what they must.

The command runs here as a child of the test, from the unpacked wheel; `make image` executes every step in a clean root.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dummy_process import ENV, START_S, STOP_S, until

from bitlm_mcp import cli
from tests.mcp.command_line import invoked
from tests.packaging.conftest import ROOT, Distributions, tracked
from tests.packaging.dockerfile import health_command, parse, visible

BUILD, FINAL = parse((ROOT / "Dockerfile").read_text())
IGNORE = (ROOT / ".dockerignore").read_text()
TOKEN = "0123456789abcdef-of-a-test"  # noqa: S105
DEFAULT_PORT = cli.serve.__defaults__[2]  # type: ignore[index]


def test_it_installs_the_versions_that_the_tests_run_with() -> None:
    installs = [step.text for step in BUILD.all("RUN") if "pip install" in step.text]
    assert len(installs) == 2 and all("--constraint constraints.txt" in text for text in installs)


def test_the_engine_sees_what_is_copied_and_no_more() -> None:
    seen = {name for name in tracked() if visible(name, IGNORE)}
    wanted = {word for step in BUILD.all("COPY") for word in step.words[:-1]}
    assert {name.partition("/")[0] for name in seen} == wanted
    assert not any(visible(name, IGNORE) for name in (".git/config", "tests/conftest.py", "bitlm_mcp/__pycache__/cli.pyc"))


def test_it_runs_as_nobody_in_particular_and_keeps_its_state_in_a_volume() -> None:
    env = {name: value for step in FINAL.all("ENV") for name, value in step.pairs.items()}
    names = [step.name for step in FINAL.steps]
    (user,) = FINAL.all("USER")
    created = next(step.text for step in FINAL.all("RUN") if "useradd" in step.text)
    assert user.words == ["bitlm"] and "useradd --uid 10001" in created
    assert FINAL.last("VOLUME").words == [env["BITLM_STATE_DIR"]] and env["BITLM_STATE_DIR"] in created
    # Compiled by the user that will look for the kernels, in a place that it may add to.
    compiled = next(number for number, step in enumerate(FINAL.steps) if step.text == "bitlm compile")
    assert names.index("USER") < compiled and env["NUMBA_CACHE_DIR"] in created
    assert FINAL.last("EXPOSE").words == [str(DEFAULT_PORT)]
    assert FINAL.last("ENTRYPOINT").words == ["bitlm"] and FINAL.last("CMD").words[0] == "serve"
    assert f":{DEFAULT_PORT}/health" in health_command(FINAL.last("HEALTHCHECK"))[-1]


@contextmanager
def listening(distributions: Distributions, state: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The image's command on a free port, with the packages of the wheel; and that port."""
    assert FINAL.last("ENTRYPOINT").words == ["bitlm"]
    command = [sys.executable, "-m", "bitlm_mcp", *FINAL.last("CMD").words, "--port", "0"]
    environment = ENV | {"PYTHONPATH": str(distributions.unpacked), "HOME": str(state)}
    environment |= {"BITLM_STATE_DIR": str(state), "BITLM_TOKEN": TOKEN}
    with (state / "log").open("w") as log, subprocess.Popen(command, env=environment, cwd=state, stderr=log) as process:
        try:
            told = until(lambda: re.search(r"listening on \S+:(\d+)", (state / "log").read_text()), START_S, "it listens")
            yield process, told[1]
        finally:
            process.kill()


def checked(port: str) -> int:
    """The exit code of the health check, which looks at `port`."""
    program, *arguments = health_command(FINAL.last("HEALTHCHECK"))
    assert program == "python"
    there = [word.replace(f":{DEFAULT_PORT}/", f":{port}/") for word in arguments]
    return subprocess.run([sys.executable, *there], capture_output=True, check=False).returncode


def status(port: str, path: str, token: str = "") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=START_S) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_its_command_refuses_to_start_without_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BITLM_TOKEN", raising=False)
    refused = invoked(*FINAL.last("CMD").words, "--state-dir", tmp_path)
    assert refused.exit_code == 2 and "can be reached from other machines, and no token is set" in refused.stderr


def test_its_command_serves_the_wheel_is_found_healthy_and_ends_when_told(distributions: Distributions, tmp_path: Path) -> None:
    with listening(distributions, tmp_path) as (process, port):
        assert checked(port) == 0
        assert (status(port, "/"), status(port, "/mcp")) == (401, 401)
        for name in ("", "static/dashboard.js", "static/style.css"):
            assert status(port, f"/{name}", TOKEN) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        assert checked(port) == 1


@pytest.mark.parametrize("line", ["MAINTAINER somebody", "RUN true"])
def test_what_the_reader_does_not_know_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not expected here"):
        parse(line)
