"""Which command goes on next: the most urgent that is waiting, from one safe point to the next.

    ANSWER   short answers (infer, diffusion_sample, create, load, write), taking turns
    READ     long reads of a model (score, infer_long), in the order of arrival
    TRAIN    training, in the order of arrival

so an `infer` waits for one training step at most, and a model never changes under a command that is reading it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from bitlm_core import BitLMError, ResourceLimitError
from bitlm_mcp.compute.commands import Command
from bitlm_mcp.compute.events import Ended, Event, Failure, Progress
from bitlm_mcp.compute.executor import Steps
from bitlm_mcp.compute.stopping import ModelLostError, Stopped

log = logging.getLogger("bitlm.compute")

_FULL = ("can't allocate memory", "CUDA out of memory")
"""What torch says when the memory of the machine, or of its GPU, is full."""
QUIET_S = 0.1
"""Answers tell their progress at most this often; a training tells every step."""


class Urgency(IntEnum):
    """Who goes first; see the module's docstring."""

    ANSWER = 0
    READ = 1
    TRAIN = 2


class Compute(Protocol):
    """The compute side as its users see it: commands go in, and every one gets events up to one `Ended`."""

    def submit(self, task_id: str, urgency: Urgency, command: Command) -> None:
        """Queue a command; its events name the task."""

    def stop_task(self, task_id: str) -> None:
        """End a command at its next safe point; unknown tasks are ignored."""

    def close(self, timeout_s: float) -> None:
        """End all commands at their next safe points, and the compute side."""


Report = Callable[[str, Event], None]


@dataclass
class _Task:
    task_id: str
    urgency: Urgency
    command: Command
    running: Steps | None = None
    to_stop: bool = False
    told: float = 0.0
    last: Event | None = None


class Scheduler:
    """Runs commands in the thread that calls `run`; all other methods may be called from any thread."""

    def __init__(self, execute: Callable[[Command], Steps], report: Report) -> None:
        self._execute = execute
        self._report = report
        self._tasks: list[_Task] = []
        self._wake = threading.Condition()
        self._closing = False

    def submit(self, task_id: str, urgency: Urgency, command: Command) -> None:
        """Queue a command."""
        with self._wake:
            self._tasks.append(_Task(task_id, urgency, command, to_stop=self._closing))
            self._wake.notify()

    def stop_task(self, task_id: str) -> None:
        """End a command at its next safe point."""
        with self._wake:
            for task in self._tasks:
                task.to_stop |= task.task_id == task_id
            self._wake.notify()

    def close(self) -> None:
        """End all commands at their next safe points; `run` returns after the last."""
        with self._wake:
            self._closing = True
            for task in self._tasks:
                task.to_stop = True
            self._wake.notify()

    def run(self) -> None:
        """Advance commands until `close`."""
        while (task := self._next()) is not None:
            event = self._advance(task)
            with self._wake:
                if isinstance(event, Ended):
                    self._tasks.remove(task)
                elif task.urgency is Urgency.ANSWER:  # takes turns with the others
                    self._tasks.remove(task)
                    self._tasks.append(task)
            if self._worth_telling(task, event):
                self._report(task.task_id, event)

    def _next(self) -> _Task | None:
        with self._wake:
            while not self._tasks:
                if self._closing:
                    return None
                self._wake.wait()
            # min keeps the order of arrival among equals, so a command once begun goes on before its younger peers. Those
            # that are to stop go first of all: they only have to be closed.
            return min(self._tasks, key=lambda task: (not task.to_stop, task.urgency))

    def _advance(self, task: _Task) -> Event:
        """Run a task to its next safe point."""
        try:
            if task.running is None:
                if task.to_stop:
                    return Ended(status="cancelled")
                task.running = self._execute(task.command)
                return next(task.running)
            if task.to_stop:
                task.to_stop = False  # what it does now, it does to end
                return task.running.throw(Stopped)
            return next(task.running)
        except StopIteration as stop:
            return Ended(status="completed", answer=stop.value)
        except Stopped:
            return Ended(status="cancelled")
        except Exception as error:  # the boundary: whatever a command raises ends the command, never the thread
            if not isinstance(error, BitLMError):
                log.exception("%s failed", type(task.command).__name__)
            return Ended(status="failed", failure=failure_of(error))

    def _worth_telling(self, task: _Task, event: Event) -> bool:
        if event is task.last:  # of a command that waits for what others do
            return False
        now, task.last = time.monotonic(), event
        quiet = isinstance(event, Progress) and task.urgency is not Urgency.TRAIN and now - task.told < QUIET_S
        if not quiet:
            task.told = now
        return not quiet


def failure_of(error: BaseException) -> Failure:
    """What a caller may know of an error: all of one raised on purpose, nothing of a fault of ours."""
    if isinstance(error, ModelLostError) and error.__cause__ is not None:
        return failure_of(error.__cause__).model_copy(update={"model_lost": True})
    if isinstance(error, BitLMError):
        return Failure(kind=type(error).__name__, message=error.message)
    if isinstance(error, MemoryError) or any(words in str(error) for words in _FULL):
        text = "the machine ran out of memory; the model is back at its last saved state: use a smaller batch_size or model"
        return Failure(kind=ResourceLimitError.__name__, message=text)
    return Failure(kind=BitLMError.__name__, message="the job failed because of a fault in the server; its log has the details")
