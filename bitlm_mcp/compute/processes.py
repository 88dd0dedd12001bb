"""A training that several processes share: what is said of them, and the folder of their run, which all of them can reach.

    RUN/command.json     what is to be trained, and how: all that a worker is told
    RUN/start            the state that the training begins with
    RUN/events           lines of JSON that the leader appends, and the launcher reads
    RUN/last             the state that was saved last, for the launcher
    RUN/stop             is there when the training is to end at its next step
    RUN/shards/          sharded checkpoints, from which it goes on after a process was lost
    RUN/log              what the processes print, of use when they fail
    RUN/torchrun/        what torchrun notes for itself
    RUN/meeting          where the processes of one machine find each other

Only the leader writes events; which process that is, and on which machine, torchrun decides anew at every start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bitlm_core import Parallel
from bitlm_mcp.compute.events import Event
from bitlm_mcp.compute.messages import Message
from bitlm_mcp.settings import Device

_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


class Processes(Message):
    """`nproc` processes on each of `nodes` machines, which share the work as `parallel` says.

    folder: of the run. endpoint: HOST:PORT where several machines meet, the host being the launcher's. threads: of all
    processes of a machine together; None: its cores. shards_every_s: seconds between sharded checkpoints. max_restarts: how
    often all are started again after one was lost.
    """

    nproc: int
    nodes: int = 1
    parallel: Parallel = "ddp"
    folder: Path
    endpoint: str | None = None
    device: Device = "auto"
    threads: int | None = None
    shards_every_s: float = 60.0
    max_restarts: int = 3

    @property
    def size(self) -> int:
        """How many processes there are in all."""
        return self.nproc * self.nodes

    @property
    def run(self) -> RunFiles:
        """The files of the run."""
        return RunFiles(self.folder)


class RunFiles:
    """The files of a run, see the module's docstring."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command, self.start, self.last = folder / "command.json", folder / "start", folder / "last"
        self.events, self.stop, self.shards = folder / "events", folder / "stop", folder / "shards"
        self.log, self.torchrun, self.meeting = folder / "log", folder / "torchrun", folder / "meeting"

    def told(self) -> Iterator[Event]:
        """Everything that was told so far."""
        with self.events.open("rb") as lines:
            yield from _read(lines)


class EventWriter:
    """The leader's end of the events. What another leader was writing when it was killed stays a line of its own."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, b"\n")

    def tell(self, event: Event) -> None:
        """Append an event; whoever reads sees all of it, or nothing yet."""
        line = event.model_dump_json().encode() + b"\n"
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """No more events of this leader."""
        os.close(self._file)


class EventReader:
    """The launcher's end of the events, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._begun = path, 0, b""

    def new(self) -> list[Event]:
        """What was told since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        self._at += len(data)
        lines, _, self._begun = (self._begun + data).rpartition(b"\n")
        return list(_read(lines.splitlines()))


def _read(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events in lines; one that was torn when its leader was killed was told to nobody."""
    for line in lines:
        try:
            yield _EVENTS.validate_json(line)
        except ValidationError:
            continue
