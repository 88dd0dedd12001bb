"""A training in processes of their own: torchrun is started, what its leader tells is passed on, and nothing of it stays.

    this process ─ command.json, start ─→ torchrun ─→ nproc × `bitlm worker`          (see `worker`)
                 ←──────────── events ───────────────── the leader of them
                 ─ stop, end of stdin ─────────────────→ all of them

The model is not in memory here meanwhile: whoever asks it something reads the last state that was saved. That one is in memory
afterwards, for trainings that were queued when another was the last. When this process ends, however it ends, the end of their
stdin ends the workers, and torchrun with them.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing, suppress

import bitlm_core
from bitlm_core import BitLMError, ConfigError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines
from bitlm_mcp.compute.events import Ended, Event, Progress, standing
from bitlm_mcp.compute.messages import ModelRef, Saved
from bitlm_mcp.compute.processes import EventReader, Processes, RunFiles
from bitlm_mcp.compute.stopping import ModelLostError, Stopped
from bitlm_mcp.compute.training import write_state

log = logging.getLogger("bitlm.compute")

POLL_S = 0.02
"""Longest time that others wait for their turn because of a training elsewhere."""
LEAVE_S = 20.0
"""What the processes get to leave when all has been told."""
LOGGED = 4000
"""Characters of the end of the processes' log that are kept when they fail."""
FRESH_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
"""For torchrun: with one store for all restarts, processes that start anew may find the addresses of those that were lost."""
TORCHRUN = ("env", FRESH_STORE, sys.executable, "-m", "torch.distributed.run")
RUN_ID = "bitlm"
"""Of a training that is no job."""


def launched_steps(engines: Engines, command: commands.Train) -> Generator[Progress, None, answers.Written]:
    """Train in the processes that the command names, yielding what their leader tells; at most POLL_S between two yields.

    What was told already is yielded again where nothing is new. Raises ConfigError for what cannot be trained so, and
    ModelLostError from whatever else ended the training; both leave the model as it was saved last.
    """
    processes = _checked(command)
    try:
        yield from _begun(engines, command, processes)
        try:
            with closing(_Launched(command, processes)) as launched:
                ended = yield from _to_the_end(launched)
        finally:
            _take_back(engines, command.model, processes.run)
    finally:
        shutil.rmtree(processes.folder, ignore_errors=True)
    if not isinstance(ended.answer, answers.Written):
        raise AssertionError("the leader of a training ends with its last state, or with a failure")
    return ended.answer


def torchrun(processes: Processes, run_id: str) -> list[str]:
    """The arguments of torchrun that are the same on all machines: how many processes, and where they meet.

    On one machine that is a file, so that nobody else can take part.
    """
    one = ["--rdzv-endpoint", str(processes.run.meeting), "--rdzv-conf", "store_type=file", "--local-addr", "127.0.0.1"]
    met = one if processes.endpoint is None else ["--rdzv-endpoint", processes.endpoint]
    counts = {"nnodes": processes.nodes, "nproc-per-node": processes.nproc, "max-restarts": processes.max_restarts}
    options = [text for name, count in counts.items() for text in (f"--{name}", str(count))]
    return [*options, "--rdzv-backend", "c10d", "--rdzv-id", run_id, *met]


def line_for_others(processes: Processes, run_id: str) -> str:
    """What is to be run on each of the other machines, which see the same state directory."""
    worker = ["-m", "bitlm_mcp", "worker", str(processes.run.command)]
    return shlex.join([FRESH_STORE, "torchrun", *torchrun(processes, run_id), *worker])


def _checked(command: commands.Train) -> Processes:
    processes = command.processes
    if processes is None:
        raise AssertionError("a training of this process alone launches nothing")
    most, what = bitlm_core.most_processes(processes.device)
    if processes.nproc > most:
        raise ConfigError(f"nproc={processes.nproc} is more than the {most} {what} of this machine: use nproc={most} or less")
    return processes


def _begun(engines: Engines, command: commands.Train, processes: Processes) -> Generator[Progress, None, None]:
    """Lay out the folder of the run, and give the model's memory to the workers."""
    name, files = command.model.model_id, processes.run
    entry = engines.get(command.model, command.trace)
    config = entry.engine.config.model_copy(update={"training": command.training})
    bitlm_core.check_parallel(config, command.plan, processes.parallel, processes.size)
    engines.make_room_for(
        processes.nproc * bitlm_core.estimate_engine_bytes(config),
        f"training {name!r} in {processes.nproc} processes",
        apart_from=name,
    )
    shutil.rmtree(processes.folder, ignore_errors=True)
    processes.folder.mkdir(parents=True)
    files.command.write_text(command.model_dump_json())
    unsaved = entry.unsaved
    saved = write_state(entry, command.save_to if unsaved else processes.folder, command.trace)
    bitlm_core.link_or_copy(saved.path, files.start)
    if unsaved:
        yield standing(command.plan, saved=saved)
    engines.drop(name)


def _take_back(engines: Engines, model: ModelRef, files: RunFiles) -> None:
    """Have the model in memory as it was saved last; without room, or a good file, whoever asks reads what was published."""
    state = files.last if files.last.exists() else files.start
    with suppress(BitLMError, OSError):
        engines.put(model.model_id, engines.read(model.model_copy(update={"state": state, "sha256": None}), model.model_id))


def _to_the_end(launched: _Launched) -> Generator[Progress, None, Ended]:
    """What the leader tells; where it is to stop, until it has."""
    try:
        return (yield from _relayed(launched))
    except Stopped:
        if not launched.met:
            raise
        launched.ask_to_stop()
        ended = yield from _relayed(launched)
        if ended.status == "cancelled":
            raise
        return ended


def _relayed(launched: _Launched) -> Generator[Progress, None, Ended]:
    """What the leader tells, to its end; again from where an earlier call was stopped. Raises ModelLostError for a failure."""
    while launched.ended is None:
        over = launched.over  # known before the last is read, so that nothing is missed
        event = launched.next_event()
        if isinstance(event, Progress):
            yield event
        elif over and launched.ended is None:
            raise ModelLostError from launched.failure()
        else:
            launched.wait()
            yield launched.told
    if launched.ended.failure is not None:
        raise ModelLostError from launched.ended.failure.error()
    deadline = time.monotonic() + LEAVE_S
    while not launched.over and time.monotonic() < deadline:
        launched.wait()
        yield launched.told
    return launched.ended


class _Launched:
    """torchrun, and what it has started here. `told`: the last progress; `ended`: the last event, once it is there."""

    def __init__(self, command: commands.Train, processes: Processes) -> None:
        files = processes.run
        self._what = f"{processes.size} processes"
        self.told = self._begun = standing(command.plan, message=f"starting {self._what}")
        self.ended: Ended | None = None
        self._files, self._endpoint, self._starts = files, processes.endpoint, processes.max_restarts + 1
        self._reader, self._waiting = EventReader(files.events), deque[Event]()
        worker = ["-m", "bitlm_mcp", "worker", str(files.command), "--with-launcher"]
        arguments = ["--log-dir", str(files.torchrun), *torchrun(processes, command.job_id or RUN_ID), *worker]
        with files.log.open("wb") as log_file:
            # A session of its own: Ctrl-C in a terminal is for the launcher, which ends the training in good order.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*TORCHRUN, *arguments],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def met(self) -> bool:
        """Whether the processes have found each other: until then there is nothing to lose."""
        return self.told is not self._begun

    @property
    def over(self) -> bool:
        """Whether torchrun has ended."""
        return self._process.poll() is not None

    def next_event(self) -> Event | None:
        """What the leader has told next; None where there is nothing new."""
        self._waiting.extend(() if self._waiting else self._reader.new())
        event = self._waiting.popleft() if self._waiting else None
        if isinstance(event, Progress):
            self.told = event
            self._keep(event.saved)
        elif event is not None:
            self.ended = event
            self._keep(event.answer.saved if isinstance(event.answer, answers.Written) else None)
        return event

    def _keep(self, saved: Saved | None) -> None:
        """Give a saved state, which is about to be moved, a name of its own in place of the one before."""
        if saved is not None:
            self._files.last.unlink(missing_ok=True)
            with suppress(OSError):
                bitlm_core.link_or_copy(saved.path, self._files.last)

    def wait(self) -> None:
        """Let a little time pass, less where torchrun ends."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(POLL_S)

    def failure(self) -> BitLMError:
        """What is told of processes that have ended without a word; what they printed goes to the log."""
        printed = self._files.log.read_text(errors="replace")[-LOGGED:]
        log.error("the processes of a training ended with code %s; they said last:\n%s", self._process.returncode, printed)
        fault = f"{self._what} were started up to {self._starts} times, and each time one of them was lost"
        if self._endpoint and not self.met:
            fault = f"the machines have not met at {self._endpoint}: each of the others is to run the line that the job tells"
        return BitLMError(
            f"the training was given up: {fault}. The model stands at its last saved state; the log has what the processes "
            "said: see what ails them, then start a new training"
        )

    def ask_to_stop(self) -> None:
        """Let the leader end the training at its next step, and save."""
        self._files.stop.touch()

    def close(self) -> None:
        """End everything: the workers by the end of their stdin, torchrun itself."""
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.kill()
        self._process.wait()
