"""`bitlm bench pages`: what open pages cost a training that goes on beside them, and how soon they hear of a step.

The server, with its training, is this process; the pages are plain sockets in another. In turns nobody looks on and many do,
in the order A B B A …, so that what else the machine does meets both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated

import typer

from bitlm_core import EngineConfig, TrainingConfig, TrainingPlan, preset_config
from bitlm_mcp.app import build_app
from bitlm_mcp.bench_reports import BenchError, Json, Preset, tell
from bitlm_mcp.call_gate import CallLog
from bitlm_mcp.dashboard.live import Live
from bitlm_mcp.dashboard.routes import dashboard_routes
from bitlm_mcp.demo import default_text
from bitlm_mcp.events import Changes
from bitlm_mcp.housekeeping import Housekeeper
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.models import create_model
from bitlm_mcp.operations.training import train
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.shell import progress_bar
from bitlm_mcp.transports import listen
from bitlm_mcp.web_server import WebServer
from bitlm_mcp.workspace import Workspace

MODEL = "bench"
FIRST_STEPS = 5
"""Before the first turn: torch is loaded and has found its pace."""


@dataclass(frozen=True)
class Turn:
    """One turn: steps trained, CPU seconds of the server and of its training alone, seconds, and bytes that all pages read."""

    pages: int
    steps: int
    cpu_s: float
    training_cpu_s: float
    wall_s: float
    bytes_read: int


@dataclass(frozen=True)
class PagesReport:
    """Throughput with nobody looking on and with so many pages; what the pages cost, in percent of it.

    lost: of all turns together. The middle of the pairs of turns says the same, less moved by one turn that was disturbed.
    beside: CPU of the server that is not its training, in percent of both: what other programs do moves it least.
    event_ms: from the moment a step could be seen by all to the read of the event that tells of it.
    """

    pages: int
    turns: int
    steps_per_cpu_s_alone: float
    steps_per_cpu_s: float
    lost_cpu_percent: float
    lost_cpu_percent_median: float
    steps_per_s_alone: float
    steps_per_s: float
    lost_wall_percent: float
    lost_wall_percent_median: float
    beside_percent_alone: float
    beside_percent: float
    event_ms_median: float
    event_ms_p95: float
    kilobytes_per_page_s: float

    def flat(self) -> dict[str, float | int]:
        """For the last line, as JSON."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


def pages(
    count: Annotated[int, typer.Option("--pages", min=1, max=500, help="Pages that look on.")] = 50,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Turns of each kind.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Of one turn.")] = 5.0,
    preset: Preset = "tiny",
    json_only: Json = False,
) -> None:
    """Train while many pages look on, in turns with nobody doing so: steps per CPU-second and per second, and latency."""
    with tempfile.TemporaryDirectory(prefix="bitlm-bench-") as scratch, _training(Path(scratch), preset) as (clock, port):
        told: list[Turn] = []
        told_at: dict[int, float] = {}
        with _readers(port) as (orders, answers), progress_bar() as bar:
            for number in bar.track(range(2 * turns), description="training"):
                looking = count if number % 4 in (1, 2) else 0
                told.append(_turn(clock, orders, answers, looking, seconds, told_at))
        report = _report(count, told, [1000 * (at - clock.seen[step]) for step, at in told_at.items() if step in clock.seen])
    tell(report.flat(), json_only)


class _Clock(Changes):
    """Word of changes, which notes when a step of the model can be seen."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.seen: dict[int, float] = {}

    @property
    def step(self) -> int:
        """Of the model now."""
        model = self._workspace.snapshot.models.get(MODEL)
        return model.step if model else 0

    def tell(self) -> None:
        """As in `Changes`."""
        self.seen.setdefault(self.step, time.monotonic())
        super().tell()


@contextmanager
def _training(state: Path, preset: Preset) -> Iterator[tuple[_Clock, int]]:
    """A server with a training that lasts as long as the block, and its port."""
    settings = ServerSettings(state_dir=state, threads=1)
    workspace = Workspace(settings)
    workspace.changes = clock = _Clock(workspace)
    live, housekeeper = Live(workspace), Housekeeper(workspace, CallLog())
    routes = [*dashboard_routes(workspace), *live.routes()]
    app = build_app(build_server([]), settings, routes, [housekeeper.run, live.run])
    sock = listen("127.0.0.1", 0)
    web = WebServer(app, settings, own_signals=False, on_leave=live.stop)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [sock]})
    try:
        thread.start()
        add_dataset(workspace, MODEL, [[default_text()]], source="text", holdout_fraction=0.1, overwrite=True)
        made = create_model(workspace, MODEL, EngineConfig(model=preset_config(preset)), overwrite=False)
        _until(lambda: made.over, workspace)
        train(
            workspace, MODEL, Source(dataset_id=MODEL), TrainingPlan(seconds=86_400), TrainingConfig(),
            queue=False, idempotency_key=None,
        )  # fmt: skip
        _until(lambda: clock.step >= FIRST_STEPS and web.started, workspace)
        yield clock, sock.getsockname()[1]
    finally:
        web.should_exit = True
        thread.join()
        workspace.close()


@contextmanager
def _readers(port: int) -> Iterator[tuple[IO[str], IO[str]]]:
    command = [sys.executable, "-m", "bitlm_mcp.open_pages"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own
        orders, answers = child.stdin, child.stdout
        assert orders is not None and answers is not None  # noqa: S101 - as asked for
        _order(orders, f"{port}")
        try:
            yield orders, answers
        finally:
            orders.close()


def _turn(clock: _Clock, orders: IO[str], answers: IO[str], looking: int, seconds: float, told_at: dict[int, float]) -> Turn:
    """Let the training go on for so long; note when the first page was told of which step."""
    _order(orders, f"{looking}")
    if answers.readline() != "ready\n":
        raise BenchError("the pages could not be opened: the log above says why")
    before = _clocks(clock)
    time.sleep(seconds)
    steps, cpu, training, wall = (b - a for a, b in zip(before, _clocks(clock), strict=True))
    _order(orders, "")
    read = json.loads(answers.readline())
    told_at |= {int(step): at for step, at in read["steps"].items()}
    return Turn(looking, int(steps), cpu, training, wall, read["bytes_"])


def _clocks(clock: _Clock) -> tuple[float, float, float, float]:
    """Steps, CPU seconds of this process and of the thread that trains in it, and seconds."""
    ident = next(thread.ident for thread in threading.enumerate() if thread.name == "bitlm-compute")
    assert ident is not None  # noqa: S101 - it trains
    training = time.clock_gettime(time.pthread_getcpuclockid(ident))
    return clock.step, time.process_time(), training, time.monotonic()


def _report(count: int, turns: Sequence[Turn], event_ms: Sequence[float]) -> PagesReport:
    if not event_ms:
        raise BenchError("no step was told to any page: give more --seconds or --turns")
    alone, seen = ([turn for turn in turns if bool(turn.pages) is looked] for looked in (False, True))
    cpu = [sum(turn.steps for turn in some) / sum(turn.cpu_s for turn in some) for some in (alone, seen)]
    wall = [sum(turn.steps for turn in some) / sum(turn.wall_s for turn in some) for some in (alone, seen)]
    pairs = list(zip(alone, seen, strict=True))
    return PagesReport(
        pages=count,
        turns=len(pairs),
        steps_per_cpu_s_alone=cpu[0],
        steps_per_cpu_s=cpu[1],
        lost_cpu_percent=_lost(cpu[0], cpu[1]),
        lost_cpu_percent_median=statistics.median(_lost(a.steps / a.cpu_s, b.steps / b.cpu_s) for a, b in pairs),
        steps_per_s_alone=wall[0],
        steps_per_s=wall[1],
        lost_wall_percent=_lost(wall[0], wall[1]),
        lost_wall_percent_median=statistics.median(_lost(a.steps / a.wall_s, b.steps / b.wall_s) for a, b in pairs),
        beside_percent_alone=_beside(alone),
        beside_percent=_beside(seen),
        event_ms_median=statistics.median(event_ms),
        event_ms_p95=sorted(event_ms)[min(len(event_ms) - 1, int(0.95 * len(event_ms)))],
        kilobytes_per_page_s=sum(turn.bytes_read for turn in seen) / sum(turn.wall_s * turn.pages for turn in seen) / 1000,
    )


def _beside(turns: Sequence[Turn]) -> float:
    return 100 * (1 - sum(turn.training_cpu_s for turn in turns) / sum(turn.cpu_s for turn in turns))


def _lost(alone: float, seen: float) -> float:
    """Percent; of a turn without a step nothing can be said."""
    if not alone:
        raise BenchError("a turn ended before a step did: give more --seconds")
    return 100 * (1 - seen / alone)


def _order(orders: IO[str], line: str) -> None:
    orders.write(line + "\n")
    orders.flush()


def _until(reached: Callable[[], bool], workspace: Workspace) -> None:
    """Wait. Raises BenchError when a job has failed, and so it will never be reached."""
    while not reached():
        failed = [job.error for job in workspace.snapshot.jobs.values() if job.status == "failed"]
        if failed:
            raise BenchError(f"the training could not begin: {failed[0]}")
        time.sleep(0.02)
