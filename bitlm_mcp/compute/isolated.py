"""The compute side in a child process. Whatever happens to the child, the server lives, and starts another.

Both ends speak lines of JSON over the child's stdin and stdout; the child's stderr is the server's own. When the child ends
unasked, every command it had gets an `Ended` that says so: what a training had saved is still there.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO

from bitlm_core import BitLMError
from bitlm_mcp.compute.commands import Command
from bitlm_mcp.compute.events import Ended, Failure
from bitlm_mcp.compute.scheduler import Report, Urgency
from bitlm_mcp.compute.wire import Begin, Order, Told
from bitlm_mcp.settings import Device

log = logging.getLogger("bitlm.compute")


class ComputeDiedError(BitLMError):
    """The child ended while it had work."""


class IsolatedCompute:
    """A `Compute`; events are reported in a thread that reads from the child."""

    def __init__(self, report: Report, threads: int | None, device: Device) -> None:
        self._report = report
        self._begin = Begin(threads=threads, device=device)
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Of the child that works, if there is one."""
        return self._child.process.pid if self._child else None

    def submit(self, task_id: str, urgency: Urgency, command: Command) -> None:
        """Queue a command; a child that has died is succeeded by a new one."""
        with self._lock:
            if self._child is None or self._child.over:
                self._child = _Child(self._begin, self._report)
            child = self._child
        child.submit(task_id, urgency, command)

    def stop_task(self, task_id: str) -> None:
        """End a command at its next safe point."""
        with self._lock:
            if self._child is not None:
                self._child.say(Order(do="stop", task_id=task_id))

    def close(self, timeout_s: float) -> None:
        """End all commands at their next safe points, and the child; one that does not answer is killed."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close(timeout_s)


class _Child:
    """One child, its unfinished tasks, and the thread that reads what it says."""

    def __init__(self, begin: Begin, report: Report) -> None:
        command = [sys.executable, "-m", "bitlm_mcp.compute.child"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own program
        self.over = False
        self._report = report
        self._tasks: set[str] = set()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="bitlm-compute-events", daemon=True)
        self._reader.start()
        self.say(begin)

    def submit(self, task_id: str, urgency: Urgency, command: Command) -> None:
        with self._lock:
            lost = self.over
            self._tasks.add(task_id)
        if lost:
            self._bury({task_id})
        else:
            self.say(Order(do="submit", task_id=task_id, urgency=urgency, command=command))

    def say(self, order: Begin | Order) -> None:
        """One line to the child. That it has died is noticed by the reader, which tells everybody."""
        pipe: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        with self._lock:
            try:
                pipe.write(order.model_dump_json().encode() + b"\n")
                pipe.flush()
            except (OSError, ValueError):
                log.info("the compute process does not listen any more")

    def close(self, timeout_s: float) -> None:
        self.say(Order(do="close"))
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(timeout_s)

    def _read(self) -> None:
        pipe: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        for line in pipe:
            told = Told.model_validate_json(line)
            if isinstance(told.event, Ended):
                with self._lock:
                    self._tasks.discard(told.task_id)
            self._report(told.task_id, told.event)
        pipe.close()
        self.process.wait()
        with self._lock:
            with suppress(OSError):  # what it was not told any more
                self.process.stdin.close()  # type: ignore[union-attr]
            self.over = True
            lost, self._tasks = self._tasks, set()
        self._bury(lost)

    def _bury(self, lost: set[str]) -> None:
        code = self.process.returncode
        reason = f"it was ended by {signal.Signals(-code).name}" if code and code < 0 else f"it ended with code {code}"
        failure = Failure(
            kind=ComputeDiedError.__name__,
            message=f"the compute process has died ({reason}); the model stands at its last saved state, and the server goes "
            "on with a new process",
        )
        for task_id in lost:
            self._report(task_id, Ended(status="failed", failure=failure))
