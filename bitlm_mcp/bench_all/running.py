"""Cases as processes: two beside each other where they count CPU time on one thread, then one by one where they must be alone.

Each is `bitlm bench NAME …` as a person would call it, whose last line is taken. What ends is recorded at once, whatever
becomes of the others; a run that is stopped stops what it has started, and the next one begins with what is missing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event, Timer
from typing import Any

import bitlm_core
from bitlm_mcp.bench_all.derived import flat
from bitlm_mcp.bench_all.inputs import Inputs
from bitlm_mcp.bench_all.plan import LANES, Case
from bitlm_mcp.bench_all.records import CaseRecord, key_of, read_record, write_record

PROGRAM = (sys.executable, "-m", "bitlm_mcp", "bench")
PATIENCE = 10
"""A case that takes so many times as long as planned, and ten minutes more, hangs: the machine may be busy."""
GRACE_S = 600
_STOP_S = 5.0
_KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Job:
    """A case with its files found: how a report writes the command, and how it is run."""

    case: Case
    shown: str
    arguments: tuple[str, ...]
    data: Mapping[str, str]
    key: str


@dataclass(frozen=True)
class Bench:
    """Where and on what is measured, and what is told meanwhile. program: what runs a benchmark, before its name."""

    out: Path
    inputs: Inputs
    commit: str
    machine: Mapping[str, str | int]
    environment: Mapping[str, str]
    tell: Callable[[str], None]
    program: Sequence[str] = PROGRAM

    def job(self, case: Case) -> Job | None:
        """The case with its files; None where one is absent that it needs."""
        paths = {reference: self.inputs.path(reference) for reference in (*case.needs, *([case.data] if case.data else []))}
        if any(paths[reference] is None for reference in case.needs):
            return None
        there = {reference: str(path) for reference, path in paths.items() if path is not None}
        with_data = case.data in there
        shown = " ".join(["bitlm bench", *case.command_line(str, with_data=with_data)])
        data = {reference: self.inputs.digest(reference) for reference in there}
        arguments = tuple(case.command_line(there.__getitem__, with_data=with_data))
        return Job(case, shown, arguments, data, key_of(shown, data, self.commit, self.machine))

    def kept(self, job: Job) -> CaseRecord | None:
        """What was measured of this very case before."""
        found = read_record(self.out, job.case.name)
        return found if found is not None and found.good and found.key == job.key else None


def run_jobs(bench: Bench, jobs: Sequence[Job]) -> None:
    """Run and record all. Raises what stops it (KeyboardInterrupt), with no process left."""
    runs = _Runs(bench, len(jobs))
    lanes = min(LANES, bitlm_core.usable_cores())
    longest_first = sorted((job for job in jobs if not job.case.alone), key=lambda job: -job.case.seconds)
    pool = ThreadPoolExecutor(lanes)
    try:
        for future in [pool.submit(runs.run, job, beside=lanes > 1) for job in longest_first]:
            future.result()
        for job in jobs:
            if job.case.alone:
                pool.submit(runs.run, job, beside=False).result()
    finally:
        runs.stop()
        pool.shutdown(cancel_futures=True)


class _Runs:
    """Runs jobs from any thread, until it is stopped."""

    def __init__(self, bench: Bench, total: int) -> None:
        self._bench, self._total, self._numbers = bench, total, count(1)
        self._running: set[int] = set()
        self._stopped = Event()

    def run(self, job: Job, *, beside: bool) -> None:
        """Run one and record it, if nothing has been stopped."""
        if self._stopped.is_set():
            return
        self._bench.tell(f"[{next(self._numbers)}/{self._total}] {job.case.name}: about {job.case.seconds} s")
        record = self._measured(job, beside)
        if self._stopped.is_set():
            return
        write_record(self._bench.out, record)
        took = f"{record.wall_seconds:.0f} s, {record.cpu_seconds:.0f} of CPU"
        self._bench.tell(f"{job.case.name}: {took}" + ("" if record.good else f": FAILED, {record.error}"))

    def stop(self) -> None:
        """End what is running, with what it has started; what is asked afterwards is not begun."""
        self._stopped.set()
        for pid in list(self._running):
            _signal(pid, signal.SIGTERM)
            self._kill_after(_STOP_S, pid)

    def _kill(self, pid: int) -> None:
        if pid in self._running:
            _signal(pid, signal.SIGKILL)

    def _kill_after(self, seconds: float, pid: int) -> Timer:
        timer = Timer(seconds, self._kill, [pid])
        timer.daemon = True
        timer.start()
        return timer

    def _measured(self, job: Job, beside: bool) -> CaseRecord:
        began, load, date = time.perf_counter(), os.getloadavg()[0], datetime.now(UTC)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            status, usage = self._ended(job, out, errors)
            out.seek(0)
            errors.seek(0)
            said, lamented = out.read().decode(errors="replace"), _last_line(errors.read().decode(errors="replace"))
        code, seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - began
        record = CaseRecord(
            case=job.case.name, key=job.key, command=job.shown, data=job.data, figures={},
            exit_code=code, error=_failure(code, lamented, seconds > _patience(job.case)),
            wall_seconds=round(seconds, 2), cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
            peak_mib=usage.ru_maxrss // _KIB_PER_MIB, load=round(load, 1), beside=beside,
            date=date.strftime("%Y-%m-%d %H:%M"), commit=self._bench.commit, machine=self._bench.machine,
        )  # fmt: skip
        return record if code else _with_figures(record, job.case, said)

    def _ended(self, job: Job, out: Any, errors: Any) -> tuple[int, Any]:
        """The status and the use of resources with which the process of a job ended; its own children count."""
        command = [*self._bench.program, *job.arguments]
        environment = dict(self._bench.environment)
        process = subprocess.Popen(  # noqa: S603 - our own command; a group of its own, so that all of it can be ended
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment, process_group=0
        )
        self._running.add(process.pid)
        if self._stopped.is_set():  # while it was started: `stop` has not seen it
            _signal(process.pid, signal.SIGKILL)
        hanging = self._kill_after(_patience(job.case), process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not see it end
        finally:
            hanging.cancel()
            self._running.discard(process.pid)
        return status, usage


def _patience(case: Case) -> int:
    """Seconds of the wall after which a case hangs."""
    return PATIENCE * case.seconds + GRACE_S


def _failure(code: int, lamented: str, hung: bool) -> str:
    """What a report says of an end with that exit code, less than 0 for a signal; nothing of a good one."""
    if code < 0:
        return f"ended by signal {-code}" + (f", for it took over {PATIENCE} times as long as planned" if hung else "")
    return (lamented or f"ended with {code} and without a word") if code else ""


def _last_line(text: str) -> str:
    """In which a command says what was wrong."""
    return (text.strip().splitlines() or [""])[-1]


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _with_figures(record: CaseRecord, case: Case, said: str) -> CaseRecord:
    """With what its last line tells, and what follows from it; one without its headline has failed."""
    try:
        figures = flat(json.loads(_last_line(said)))
        figures |= case.derive(figures) if case.derive else {}
        headline = figures[case.figures[0].name]
    except (ValueError, KeyError, AttributeError, TypeError, ArithmeticError) as error:
        return replace(record, error=f"its last line is not the JSON that was expected ({type(error).__name__}: {error})")
    return replace(record, figures=figures, error="" if headline is not None else f"{case.figures[0].name} was not measured")
