"""The real command as a child: quick to list its tools, clean on stdout, and clean in its ends while it computes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from dummy_process import ENV, LEGACY, START_S, STOP_S, until

HELLO = {
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}},
}


class Wire:
    """Newline-delimited JSON with a child, by hand."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.lines = process, []  # type: ignore[var-annotated]

    def send(self, **message: Any) -> None:
        stdin: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        stdin.flush()

    def answer(self, request_id: int) -> dict[str, Any]:
        stdout: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        while True:
            line = stdout.readline()
            assert line, "the server ended"
            self.lines.append(line)
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == request_id:
                return message

    def call(self, request_id: int, tool: str, **arguments: Any) -> dict[str, Any]:
        meta = {"progressToken": request_id}
        self.send(id=request_id, method="tools/call", params={"name": tool, "arguments": arguments, "_meta": meta})
        result: dict[str, Any] = self.answer(request_id)["result"]
        assert not result.get("isError"), result
        return result


@contextmanager
def server(state: Path, **popen: Any) -> Iterator[Wire]:
    command = [sys.executable, "-m", "bitlm_mcp", "serve", "--state-dir", str(state), "--threads", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": ENV} | popen
    with (state / "log").open("wb") as log, subprocess.Popen(command, stderr=log, **pipes) as process:
        try:
            wire = Wire(process)
            wire.send(**HELLO)
            assert wire.answer(0)["result"]["serverInfo"]["name"] == "bitlm"
            wire.send(method="notifications/initialized")
            yield wire
        finally:
            process.kill()


def train_without_end(wire: Wire) -> None:
    wire.call(1, "init_model", preset="tiny", d_model=32, nhead=1, max_seq_len=64, context_mixing=False)
    wire.call(2, "train_step", text="the quick brown fox " * 50, seconds=1000, wait_s=1)


def test_tools_are_listed_before_torch_is_loaded(tmp_path: Path) -> None:
    with server(tmp_path) as wire:
        wire.send(id=1, method="tools/list")
        tools = wire.answer(1)["result"]["tools"]
        assert len(tools) == 22
        loaded = Path(f"/proc/{wire.process.pid}/maps").read_text()
        assert "libtorch" not in loaded and "llvmlite" not in loaded
        wire.call(2, "init_model", preset="tiny", context_mixing=False)
        assert "libtorch" in Path(f"/proc/{wire.process.pid}/maps").read_text()


def test_a_training_s_stdout_is_json_its_progress_grows_and_at_the_end_of_stdin_it_ends(tmp_path: Path) -> None:
    with server(tmp_path) as wire:
        train_without_end(wire)
        messages = [json.loads(line) for line in wire.lines]
        shares = [
            m["params"]["progress"]
            for m in messages
            if m.get("method") == "notifications/progress" and m["params"]["progressToken"] == 2
        ]
        assert shares and all(a < b for a, b in pairwise(shares))
        process = wire.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        for line in process.stdout.read().splitlines():
            json.loads(line)
        assert process.wait(STOP_S) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("end", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_it_ends_cleanly_while_it_computes(tmp_path: Path, end: str) -> None:
    with server(tmp_path) as wire:
        train_without_end(wire)
        wire.process.send_signal(getattr(signal, end))
        assert wire.process.wait(STOP_S) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_it_ends_when_its_parent_dies(tmp_path: Path) -> None:
    """A parent in between starts the server, keeps its stdin open elsewhere, and is killed."""
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=0, stdout=1)\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(1000)\n"
    )
    # Orphans of our grandchildren come to us, so that their end can be seen and waited for.
    set_child_subreaper = 36
    assert ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "bitlm_mcp", "serve", "--state-dir", str(tmp_path), "--threads", "1"]
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", script, *command], stdin=read_end, stdout=subprocess.PIPE, stderr=log, env=ENV
        )
        try:
            pid = int(until(lambda: (tmp_path / "log").read_text().split(), START_S, "the server starts")[0])
            os.write(write_end, json.dumps({"jsonrpc": "2.0"} | HELLO).encode() + b"\n")
            assert parent.stdout is not None and json.loads(parent.stdout.readline())["id"] == 0
            parent.kill()
            parent.wait()
            until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, STOP_S, "the server ends")
        finally:
            parent.kill()
            parent.wait()
            parent.stdout.close() if parent.stdout else None
            os.close(read_end)
            os.close(write_end)
            assert ctypes.CDLL(None).prctl(set_child_subreaper, 0, 0, 0, 0) == 0


def test_both_forms_of_the_same_command_refuse_bad_settings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "serve", "--http", "--host", "0.0.0.0", "--state-dir", str(tmp_path)]  # noqa: S104
    found = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=START_S, check=False)
    assert found.returncode == 2 and "BITLM_TOKEN" in found.stderr and found.stdout == ""
