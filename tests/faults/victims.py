"""Server processes that are made to suffer: the real command, forked from a process that has loaded everything already.

Forking makes hundreds of starts affordable. A fault is installed in the child before the server starts; the server knows
nothing of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import re
import resource
import select
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

START_S = 60.0
ANSWER_S = 60.0
STOP_S = 20.0
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "fault-test", "version": "0"},
}

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.preload"])


class Fault(Protocol):
    """What befalls a server; `install` runs in its process before it starts. Instances travel by pickle."""

    def install(self) -> None: ...


@dataclass(frozen=True)
class Nothing:
    """A server that is left alone."""

    def install(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class KillAfter:
    """SIGKILL from within, a time after the start."""

    seconds: float

    def install(self) -> None:
        """Let a thread wait."""
        timer = threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()


@dataclass(frozen=True)
class KillAtWrite:
    """SIGKILL from within, at the `number`-th moment at which something under `root` is written.

    Moments: before and after each fsync, rename, link, removal, making of a folder, opening of a file for writing, and at
    each statement of SQL, so between any two steps of a save, an autosave or a transaction.
    """

    root: str
    number: int

    def install(self) -> None:
        """Listen to the interpreter's audit events, which cannot be taken back."""
        moments = _Moments(self.root, self.number)
        sys.addaudithook(moments.audit)
        os.fsync = moments.around(os.fsync)  # type: ignore[assignment]
        os.rename = moments.around(os.rename)  # type: ignore[assignment]
        os.replace = moments.around(os.replace)  # type: ignore[assignment]
        os.link = moments.around(os.link)  # type: ignore[assignment]
        sqlite3.connect = moments.traced(sqlite3.connect)  # type: ignore[assignment]


class _Moments:
    _WATCHED = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})

    def __init__(self, root: str, number: int) -> None:
        self._root, self._left = root, number
        self._lock = threading.Lock()

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        watched = event in self._WATCHED or (event == "open" and _writes(arguments))
        if watched and str(arguments[0]).startswith(self._root):
            self.pass_one()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self.pass_one()
            result = function(*arguments, **keywords)
            self.pass_one()
            return result

        return wrapped

    def traced(self, connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        def connected(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **keywords)
            connection.set_trace_callback(lambda _: self.pass_one())
            return connection

        return connected

    def pass_one(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


@dataclass(frozen=True)
class ShiftedClock:
    """A wall clock that is wrong by as many seconds as the file `by` says, which may change at any time."""

    by: str

    def install(self) -> None:
        """Put another `time.time` in the place of the real one."""
        real, path = time.time, Path(self.by)

        def shifted() -> float:
            try:
                return real() + float(path.read_text() or 0)
            except (OSError, ValueError):
                return real()

        time.time = shifted


@dataclass(frozen=True)
class SmallDisk:
    """A file system of so many bytes, seen by this process alone, at `folder`."""

    folder: str
    num_bytes: int

    def install(self) -> None:
        """Mount it in a namespace of the process's own. Raises OSError where the kernel forbids that."""
        libc, options = _own_mounts(), f"size={self.num_bytes}".encode()
        _checked(libc.mount(b"tmpfs", self.folder.encode(), b"tmpfs", 0, options))


@dataclass(frozen=True)
class ReadOnly:
    """A folder that this process alone can only read, whatever its rights."""

    folder: str

    def install(self) -> None:
        """Mount it over itself in a namespace of the process's own. Raises OSError where the kernel forbids that."""
        read_only, remount, bind = 0x1, 0x20, 0x1000
        libc, folder = _own_mounts(), self.folder.encode()
        _checked(libc.mount(folder, folder, None, bind, None))
        _checked(libc.mount(None, folder, None, bind | remount | read_only, None))


@dataclass(frozen=True)
class SmallFiles:
    """No file may grow beyond so many bytes: a write that would fails in its middle, as on a disk that is full."""

    num_bytes: int

    def install(self) -> None:
        """Set the limit for this process and those it starts.

        They keep no compiled modules: Python takes half a write of one for a whole, and no process could import it again.
        """
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.num_bytes, self.num_bytes))


def _own_mounts() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts = 0x1000_0000, 0x0002_0000
    user, group = os.getuid(), os.getgid()
    _checked(libc.unshare(new_user | new_mounts))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return libc


def _checked(code: int) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _serve(stdin: Any, stdout: Any, log: str, arguments: list[str], fault: Fault) -> None:
    """The child: descriptors in their places, the fault installed, then the real command."""
    os.dup2(stdin.detach(), 0)
    os.dup2(stdout.detach(), 1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    try:
        fault.install()
    except OSError as error:
        print(f"fault not installed: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(77)
    from bitlm_mcp.cli import app

    app(["serve", *arguments], standalone_mode=True)


class Gone(Exception):
    """The server has ended."""


class CannotInstall(Exception):
    """This machine does not let the fault happen."""


class Victim:
    """One server over stdio, and the client that speaks to it, one call at a time."""

    def __init__(self, state: Path, log: Path, fault: Fault | None = None, **options: Any) -> None:
        arguments = ["--state-dir", str(state), "--threads", "1", "--calls-per-second", "100000"]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        their_stdin, self._stdin = os.pipe()
        self._stdout, their_stdout = os.pipe()
        self._buffer = b""
        self._ids = 0
        self.log = log
        self.process: ForkServerProcess = _CONTEXT.Process(
            target=_serve,
            args=(
                reduction.DupFd(their_stdin),
                reduction.DupFd(their_stdout),
                str(log),
                arguments,
                fault or Nothing(),
            ),
            daemon=True,
        )
        self.process.start()
        os.close(their_stdin)
        os.close(their_stdout)

    def hello(self) -> None:
        """Shake hands. Raises Gone, or CannotInstall where the fault cannot be had."""
        try:
            self.ask("initialize", HELLO)
        except Gone:
            if self.process.exitcode == 77:
                raise CannotInstall(self.log.read_text()) from None
            raise
        self._send({"method": "notifications/initialized"})

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request. Raises Gone when the server ends before the whole answer is here."""
        self._ids += 1
        self._send({"id": self._ids, "method": method, "params": params})
        deadline = time.monotonic() + ANSWER_S
        while True:
            message = self.receive(deadline)
            if message.get("id") == self._ids:
                assert "result" in message, message
                result: dict[str, Any] = message["result"]
                return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool returned. Raises Refused with its text when it would not."""
        return told(self.ask("tools/call", {"name": tool, "arguments": arguments}))

    def send_call(self, request_id: int, tool: str, **arguments: Any) -> None:
        """Call a tool without waiting for the answer."""
        self._send({"id": request_id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next message, whatever it is; a line that is no JSON fails."""
        message: dict[str, Any] = json.loads(self._line(deadline or time.monotonic() + ANSWER_S))
        return message

    def read(self, uri: str) -> str:
        """The text of a resource."""
        text: str = self.ask("resources/read", {"uri": uri})["contents"][0]["text"]
        return text

    def until(self, tool: str, condition: Callable[[dict[str, Any]], Any], **arguments: Any) -> dict[str, Any]:
        """Call a tool until what it tells is as it should be."""
        deadline = time.monotonic() + ANSWER_S
        while not condition(found := self.call(tool, **arguments)):
            assert time.monotonic() < deadline, found
        return found

    def address(self) -> str:
        """Where one that was started with `http=True, port=0` listens."""
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"listening on (http://\S+)", self.log.read_text() if self.log.exists() else "")):
            assert time.monotonic() < deadline and self.process.is_alive(), "the server does not start"
            time.sleep(0.02)
        return found[1]

    def kill(self) -> None:
        """End it as hard as can be."""
        self.process.kill()
        self._gone()

    def stop(self) -> int:
        """End it as a host does: close its stdin. The exit code."""
        os.close(self._stdin)
        self._stdin = -1
        self.process.join(STOP_S)
        code = self.process.exitcode
        assert code is not None, "the server does not end"
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.join(STOP_S)
        for descriptor in (self._stdin, self._stdout):
            if descriptor >= 0:
                os.close(descriptor)
        self._stdin = self._stdout = -1

    def _gone(self) -> None:
        self.process.join(STOP_S)

    def _send(self, message: dict[str, Any]) -> None:
        self.send_bytes(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        """Write to its stdin. Raises Gone."""
        try:
            while data:
                data = data[os.write(self._stdin, data) :]
        except BrokenPipeError:
            self._gone()
            raise Gone from None

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            ready = select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"no answer within {ANSWER_S} s; the log says: {self.log.read_text()[-2000:]}"
            piece = os.read(self._stdout, 1 << 16)
            if not piece:
                self._gone()
                raise Gone
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line


class Refused(Exception):
    """A tool said no; `str` is what it said."""


def told(result: dict[str, Any]) -> dict[str, Any]:
    """What the result of a call says. Raises Refused with its text when the tool would not; a fault of its own is none."""
    if result.get("isError"):
        text = result["content"][0]["text"]
        assert "Error executing tool" not in text and "Traceback" not in text, text
        raise Refused(text)
    found: dict[str, Any] = result["structuredContent"]
    return found


def saved_after(step: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a training has saved a later step: a condition for `Victim.until`."""
    return lambda job: (job.get("saved_step") or 0) > step


@contextlib.contextmanager
def victim(state: Path, fault: Fault | None = None, *, log: Path | None = None, **options: Any) -> Iterator[Victim]:
    """A server that has shaken hands, or over HTTP one that listens."""
    found = Victim(state, log or state.with_name(f"{state.name}.log"), fault, **options)
    try:
        found.address() if options.get("http") else found.hello()
        yield found
    finally:
        found.close()
