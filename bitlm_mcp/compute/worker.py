"""What torchrun starts on every machine, `nproc` times: one process of a training that several share, see `processes`.

The leader is where the training is: its pace, its record, its saves. What it would yield in a process that trains alone it
writes to the run's events. The others do what it orders. An error of the training itself is told, and all end well; whatever
else ends a process has torchrun start all of them again, which go on from the newest sharded checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bitlm_core
from bitlm_core import BitLMError, ResourceLimitError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Ended, Progress, standing
from bitlm_mcp.compute.processes import EventWriter, Processes
from bitlm_mcp.compute.scheduler import failure_of
from bitlm_mcp.compute.threaded import prepare
from bitlm_mcp.compute.training import Training
from bitlm_mcp.history import History

if TYPE_CHECKING:
    from bitlm_core import Engine, Shards, World


def work(spec: Path, *, with_launcher: bool) -> None:
    """Take part in the training that the file describes. with_launcher: end when stdin does, for then the launcher has."""
    if with_launcher:
        threading.Thread(target=_end_with_stdin, name="bitlm-launcher", daemon=True).start()
    command = commands.Train.model_validate_json(spec.read_text())
    processes = command.processes
    if processes is None:
        raise AssertionError("a worker's command names the processes")
    prepare(max(1, (processes.threads or bitlm_core.usable_cores()) // processes.nproc), "cpu")
    with bitlm_core.joined(processes.device) as world:
        entry, resumed = _entry(processes, world)
        if world.leads:
            _lead_and_tell(entry, command, processes, world, resumed=resumed)
        else:
            take_part(entry.engine, command, processes, world)


def take_part(engine: Engine, command: commands.Train, processes: Processes, world: World) -> None:
    """Do what the leader orders, to the end."""
    engine.set_training(command.training)
    bitlm_core.follow(engine, world, processes.parallel, command.data.open())


def lead(
    entry: Entry,
    command: commands.Train,
    processes: Processes,
    world: World,
    tell: Callable[[Progress], None],
    *,
    resumed: bool,
) -> Ended:
    """Lead a training to its end, or until the run's file `stop` is there, telling every step; the last state is saved.

    resumed: the engine is as a sharded checkpoint has it, of a run that has told things already. Raises BitLMError where a step
    cannot be made; the model is saved then too.
    """
    again = _remembered(entry, processes)
    if resumed and entry.engine.plan is not None:
        command = command.model_copy(update={"plan": entry.engine.plan})
    tell(standing(command.plan, message=f"{world.size} processes train", alerts=again))
    with closing(_led_steps(entry, command, processes, world)) as steps:
        while True:
            try:
                told = next(steps)
            except StopIteration as stop:
                ended: Ended = stop.value
                return ended
            tell(told)


def _remembered(entry: Entry, processes: Processes) -> tuple[str, ...]:
    """Complete the record of a model by what was told of its steps before a process was lost; what is told of that."""
    event = None
    for event in processes.run.told():
        if isinstance(event, Progress):
            entry.history.warn(event.alerts)
            entry.history.mark(event.marks)
            if event.point is not None:
                entry.history.add(event.point)
    entry.history.cut(entry.engine.step)
    again = (f"a worker was lost: all were started again, and go on from step {entry.engine.step:,}",) if event else ()
    entry.history.warn(again)
    return again


def _led_steps(entry: Entry, command: commands.Train, processes: Processes, world: World) -> Generator[Progress, None, Ended]:
    entry.engine.set_training(command.training)
    training = Training(entry, command, lambda _: None)
    keeping = _Keeping(bitlm_core.Shards(processes.run.shards), processes.shards_every_s)
    with bitlm_core.leading(entry.engine, world, processes.parallel, command.data.open()):
        try:
            for progress in training.steps():
                yield progress  # before it is kept: who goes on from there knows of it
                if refused := keeping.keep(entry, progress):
                    yield progress.model_copy(update={"point": None, "marks": (), "saved": None, "best": None} | refused)
                if processes.run.stop.exists():
                    if entry.unsaved:
                        yield training.saved()
                    return Ended(status="cancelled")
        except BitLMError:
            if entry.unsaved:
                yield training.saving()
            raise
        return Ended(status="completed", answer=answers.Written(saved=training.save()))


class _Keeping:
    """The pace of sharded checkpoints: every so many seconds, and whenever the model itself was saved."""

    def __init__(self, shards: Shards, every_s: float) -> None:
        self._shards, self._every_s = shards, every_s
        self._due = time.monotonic() + every_s

    def keep(self, entry: Entry, progress: Progress) -> dict[str, Any]:
        """Keep what there is, where it is time; what is to be told where it cannot be written."""
        if progress.saved is None and time.monotonic() < self._due:
            return {}
        try:
            self._shards.save(entry.engine)
        except OSError as error:
            why = error.strerror or error
            alert = f"no sharded checkpoint: it could not be written ({why}); a lost worker would cost more steps"
            entry.history.warn((alert,))
            return {"alerts": (alert,)}
        finally:
            self._due = time.monotonic() + self._every_s
        return {}


def _lead_and_tell(entry: Entry, command: commands.Train, processes: Processes, world: World, *, resumed: bool) -> None:
    """As `lead`, for the launcher, which reads the events."""
    with closing(EventWriter(processes.run.events)) as events:
        try:
            events.tell(lead(entry, command, processes, world, events.tell, resumed=resumed))
        except Exception as error:
            failure = failure_of(error)
            if isinstance(error, BitLMError) or failure.kind == ResourceLimitError.__name__:
                events.tell(Ended(status="failed", failure=failure))  # to start again would be in vain
            if not isinstance(error, BitLMError):
                raise


def _entry(processes: Processes, world: World) -> tuple[Entry, bool]:
    """The model with its record, and whether it is as a sharded checkpoint has it; else as the training begins with it."""
    start = processes.run.start
    engine = bitlm_core.Shards(processes.run.shards).engine(world.device)
    header = bitlm_core.read_header(start, "start")
    first = engine or bitlm_core.Engine.from_state(*bitlm_core.read_file(start, "start"), world.device)
    return Entry(first, 0, History.told(header), header.get("trained_by")), engine is not None


def _end_with_stdin() -> None:
    """The launcher has ended: so does torchrun, which would start others, and this process.

    Where torchrun has ended already, the parent is a stranger, whose stdin is another.
    """
    while os.read(0, 1):
        pass
    starter = os.getppid()
    with suppress(OSError):
        if os.path.samestat(Path(f"/proc/{starter}/fd/0").stat(), os.fstat(0)):
            os.kill(starter, signal.SIGKILL)
    os._exit(1)
