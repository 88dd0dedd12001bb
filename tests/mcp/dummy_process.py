"""Dummy servers as child processes: started, spoken to line by line, and waited for with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
DUMMY = Path(__file__).parent / "fixtures" / "dummy_server.py"
ENV = os.environ | {"PYTHONPATH": str(ROOT)}
LEGACY = "2025-11-25"
START_S = 60.0
STOP_S = 20.0  # of a machine that may be busy; how fast an end is belongs to benchmarks


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of a condition that another process makes true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        threading.Event().wait(0.02)
    return value


def command(state: Path, *options: str) -> list[str]:
    return [sys.executable, str(DUMMY), str(state), *options]


@contextlib.contextmanager
def child(state: Path, *options: str, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The dummy server as a child; its stderr goes to STATE/log."""
    with (state / "log").open("wb") as log:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": log,
            "env": ENV,
            "bufsize": 0,
        } | popen
        with subprocess.Popen(command(state, *options), **pipes) as process:
            try:
                yield process
            finally:
                process.kill()


def log_of(state: Path) -> str:
    return (state / "log").read_text()


def address(state: Path) -> str:
    """The address that a child reports, once it answers there."""
    found = until(lambda: re.search(r"listening on (https?://\S+)", log_of(state)), START_S, "the server starts")
    return str(found[1])


def send(pipe: IO[bytes] | None, *messages: dict[str, Any]) -> None:
    assert pipe is not None
    for message in messages:
        pipe.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
    pipe.flush()


def lines_until(pipe: IO[bytes] | None, request_id: int) -> list[dict[str, Any]]:
    """Every line up to the answer of a request; each must be JSON, or this fails."""
    assert pipe is not None
    # In a buffer, a line could lie unseen by select.
    assert not hasattr(pipe, "peek"), "open the pipe with bufsize=0"
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1].get("id") != request_id:
        assert select.select([pipe], [], [], START_S)[0], "no answer"
        seen.append(json.loads(pipe.readline()))
    return seen


HELLO = {
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}},
}


def shake_hands(process: subprocess.Popen[bytes]) -> None:
    send(process.stdin, HELLO, {"method": "notifications/initialized"})
    lines_until(process.stdout, 1)
