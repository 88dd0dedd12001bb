"""`bitlm train` with several processes: either it starts torchrun itself, or torchrun has started it, many times.

    bitlm train FILE --nproc 2 …                  this process launches, and follows what the leader tells
    torchrun … -m bitlm_mcp train FILE …          each process takes part; the first leads, and is the one that talks

Importing this brings no torch.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import typer

import bitlm_core
from bitlm_core import ConfigError, Parallel
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.answers import Written
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.launch import RUN_ID, launched_steps, line_for_others
from bitlm_mcp.compute.messages import ModelRef
from bitlm_mcp.compute.processes import EventWriter, Processes
from bitlm_mcp.compute.stopping import ModelLostError, Stopped
from bitlm_mcp.compute.worker import lead, take_part
from bitlm_mcp.settings import RENDEZVOUS, Device
from bitlm_mcp.shell import progress_bar, refuse
from bitlm_mcp.train_targets import Target

Tell = Callable[[Progress], None]


def processes_of(
    others: int | None,
    folder: Path,
    nproc: int,
    nodes: int,
    parallel: Parallel | None,
    rdzv_endpoint: str | None,
    device: Device,
) -> Processes | None:
    """How several processes train; None where one does. others: how many torchrun has started already, this one included.

    Raises ConfigError for what does not go together.
    """
    size = others or nproc * nodes
    if others and nproc * nodes > 1:
        raise ConfigError(f"torchrun has started {size} processes already: leave --nproc and --nodes to it")
    if rdzv_endpoint and not re.match(RENDEZVOUS, rdzv_endpoint):
        raise ConfigError(f"--rdzv-endpoint {rdzv_endpoint!r} is no HOST:PORT: give this machine's name and a free port")
    if (nodes > 1) != (rdzv_endpoint is not None):
        raise ConfigError("--nodes and --rdzv-endpoint HOST:PORT belong together: several machines must meet somewhere")
    if size == 1 and parallel is not None:
        raise ConfigError(f"--parallel {parallel} shares the work of several processes: give --nproc 2 or more beside it")
    if size == 1:
        return None
    here, machines = (size, 1) if others else (nproc, nodes)
    return Processes(
        nproc=here, nodes=machines, parallel=parallel or "ddp", folder=folder, endpoint=rdzv_endpoint, device=device
    )


def trained_together(
    entry: Entry, command: commands.Train, processes: Processes, target: Target, *, launch: bool
) -> Entry | None:
    """Train a model in several processes, and save it, with a bar and warnings in the one that talks; None in the others.

    launch: start them; else they are there already. Raises BitLMError for what cannot be trained so, or where the processes
    were lost for good; what was saved until then stays.
    """
    config = entry.engine.config.model_copy(update={"training": command.training})
    bitlm_core.check_parallel(config, command.plan, processes.parallel, processes.size)
    if processes.endpoint:
        typer.echo(f"bitlm: run on each of the other machines: {line_for_others(processes, RUN_ID)}", err=True)
    bar = progress_bar()
    task = bar.add_task("training", total=1.0)

    def tell(progress: Progress) -> None:
        bar.start()
        tell_alerts(progress)
        bar.update(task, completed=progress.share)

    try:
        return launched(entry, command, target, tell) if launch else taken_part(entry, command, processes, target, tell)
    finally:
        bar.stop()


def tell_alerts(progress: Progress) -> None:
    """What a training warns of, a line each."""
    for alert in progress.alerts:
        typer.echo(f"bitlm: {alert}", err=True)


def launched(entry: Entry, command: commands.Train, target: Target, tell: Tell) -> Entry:
    """Train a model in processes that are started here, until the plan ends or Ctrl-C; as it was saved last."""
    engines = Engines()
    engines.put(command.model.model_id, entry)
    steps = launched_steps(engines, command)
    try:
        with _ctrl_c() as asked:
            _followed(steps, asked, target, tell)
    except ModelLostError as lost:
        raise lost.__cause__ or lost from None
    return engines.get(ModelRef(model_id=command.model.model_id, incarnation=0, state=target.file))


def taken_part(entry: Entry, command: commands.Train, processes: Processes, target: Target, tell: Tell) -> Entry | None:
    """Take part in a training whose processes are there already; the model in the one that leads, None in the others.

    Where processes have begun the same before and were lost, it goes on from their newest sharded checkpoint. A file `stop` in
    the run's folder ends it at the next step.
    """
    files, text = processes.run, command.model_dump_json() + entry.engine.config.model_dump_json()
    again = files.command.is_file() and files.command.read_text() == text  # asked before anyone leads: they meet after it
    target.replaces |= again  # what they have saved
    target.check_free()
    with bitlm_core.joined(processes.device) as world:
        kept = bitlm_core.Shards(files.shards).engine(world.device) if again else None
        entry.engine = kept or bitlm_core.Engine.from_state(*entry.engine.state(), world.device)
        if not world.leads:
            take_part(entry.engine, command, processes, world)
            return None
        if not again:
            shutil.rmtree(files.folder, ignore_errors=True)
            files.folder.mkdir(parents=True)
            files.command.write_text(text)
        with closing(EventWriter(files.events)) as events:

            def told(progress: Progress) -> None:
                events.tell(progress)
                _keep(progress, files.stop.exists(), target)
                tell(progress)

            ended = lead(entry, command, processes, world, told, resumed=kept is not None)
            if isinstance(ended.answer, Written):  # else there is RUN/stop
                target.take(ended.answer.saved)
    shutil.rmtree(files.folder, ignore_errors=True)
    return entry


def _keep(progress: Progress, last: bool, target: Target) -> None:
    """Keep what was saved on the way; `last`: the training is being stopped, and nothing may come after it."""
    if last and progress.saved is not None:
        target.take(progress.saved)
    else:
        target.keep(progress.saved)


def _followed(steps: Generator[Progress, None, Written], asked: list[int], target: Target, tell: Tell) -> None:
    """Follow a training to its end, and keep what is saved on the way; asked: to end it, where it is not empty.

    Raises ConfigError where it was stopped before anything was learned.
    """
    stopping, before = False, None
    while True:
        stops, stopping = bool(asked) and not stopping, bool(asked)  # before it waits: Ctrl-C mostly comes meanwhile
        try:
            told = steps.throw(Stopped) if stops else next(steps)
        except StopIteration as stop:
            written: Written = stop.value
            target.take(written.saved)
            return
        except Stopped:
            refuse(before is None or before.steps_done == 0, "stopped before anything was learned: nothing is saved")
            typer.echo("bitlm: stopped; what was learned until now is saved", err=True)
            return
        if told is not before:  # else nothing is new
            _keep(told, stopping, target)
            tell(told)
        before = told


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """While it lasts, Ctrl-C is only noted."""
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
