"""Work that takes time, and the one thread that does it.

A job is a generator: each value it yields is a safe point, where others may go first, a cancel is honoured, and progress
is told. The worker always advances the most urgent job that is waiting:

    ANSWER   short answers (infer, diffusion_sample, init, save, load), taking turns
    READ     long reads of a model (evaluate, infer_long), in the order of arrival
    TRAIN    training, in the order of arrival

so an `infer` waits for one training step at most, and a model never changes under a job that is reading it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal

from bitlm_core import BitLMError, ModelStateError, ResourceLimitError
from bitlm_mcp.snapshot import JobView

log = logging.getLogger("bitlm.jobs")

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
FINAL = frozenset({"completed", "failed", "cancelled"})
MAX_WAITING = 64


class Urgency(IntEnum):
    """Who goes first; see the module's docstring."""

    ANSWER = 0
    READ = 1
    TRAIN = 2


@dataclass(frozen=True)
class Progress:
    """What a job tells at a safe point. `share` 0 … 1; the rest where it means something, as of that point."""

    share: float
    steps_done: int = 0
    steps_total: int | None = None
    bytes_per_second: float | None = None
    message: str = ""
    step: int | None = None
    loss: float | None = None
    bits_per_byte: float | None = None
    bits_per_byte_mixed: float | None = None


Work = Callable[[], Generator[Progress, None, Any]]


@dataclass(eq=False)
class Job:
    """One piece of work. The worker's thread alone writes it; everybody may read it."""

    kind: str
    model_id: str
    urgency: Urgency
    work: Work | None
    job_id: str = field(default_factory=lambda: f"job-{secrets.token_urlsafe(9)}")
    status: Status = "queued"
    progress: Progress = Progress(0.0)
    result: Any = None
    error: Exception | None = None
    created: float = field(default_factory=time.time)
    busy_s: float = 0.0
    finished: float | None = None
    _running: Generator[Progress, None, Any] | None = None
    _over: bool = False
    _cancel: threading.Event = field(default_factory=threading.Event)
    _watchers: dict[asyncio.Event, asyncio.AbstractEventLoop] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the status is final, and everybody can see what came of it."""
        return self._over

    @property
    def ended(self) -> bool:
        """Whether the work is done; the worker publishes it next."""
        return self.status in FINAL

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the speed so far, None before it can be told."""
        share = self.progress.share
        return None if self.ended or not share else self.busy_s * (1 - share) / share

    @property
    def cancelling(self) -> bool:
        """Whether a cancel was asked for."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Ask the job to stop at its next safe point; may be called from any thread, any number of times."""
        self._cancel.set()

    async def wait(self, seconds: float, told: Callable[[Progress], Any] | None = None) -> bool:
        """Wait until the job is over, at most `seconds`; awaits `told(progress)` when it changes. True when over."""
        changed = asyncio.Event()
        self._watchers[changed] = asyncio.get_running_loop()
        deadline = time.monotonic() + seconds
        last: Progress | None = None
        try:
            while not self.over and (left := deadline - time.monotonic()) > 0:
                if told and self.progress is not last:
                    last = self.progress
                    await told(last)
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except TimeoutError:
                    break
                changed.clear()
        finally:
            self._watchers.pop(changed, None)
        return self.over

    def view(self) -> JobView:
        """The job as everyone sees it."""
        return JobView(
            job_id=self.job_id,
            kind=self.kind,
            model_id=self.model_id,
            status=self.status,
            progress=self.progress.share,
            steps_done=self.progress.steps_done,
            steps_total=self.progress.steps_total,
            bytes_per_second=self.progress.bytes_per_second,
            eta_s=self.eta_s,
            created=self.created,
            finished=self.finished,
            error=describe(self.error) if self.error else None,
        )

    def advance(self) -> None:
        """Run to the next safe point. Called by the worker only."""
        started = time.perf_counter()
        try:
            if self._cancel.is_set():
                self._close("cancelled")
                return
            if self._running is None and self.work is not None:
                self.status = "running"
                self._running = self.work()
            assert self._running is not None  # noqa: S101 - a job that has ended is never advanced
            self.progress = next(self._running)
        except StopIteration as stop:
            self.result = stop.value
            self.progress = replace(self.progress, share=1.0)
            self._close("completed")
        except Exception as error:  # the boundary: whatever a job raises ends the job, never the worker
            if not isinstance(error, BitLMError):
                log.exception("%s of model %s failed", self.kind, self.model_id)
            self.fail(error)
        finally:
            self.busy_s += time.perf_counter() - started

    def fail(self, error: Exception) -> None:
        """End the job with an error. Called by the worker only."""
        self.error = error.with_traceback(None)  # its frames would keep the model alive
        self._close("failed")

    def tell(self) -> None:
        """Wake everyone who waits for this job; what came of it has been published."""
        self._over = self.ended
        for event, loop in list(self._watchers.items()):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop has ended, and with it the wait
                self._watchers.pop(event, None)

    def _close(self, status: Status) -> None:
        if self._running is not None:
            self._running.close()
        # The closures hold the model: a finished job must not keep it alive.
        self._running = self.work = None
        self.finished = time.time()
        self.status = status


def describe(error: Exception) -> str:
    """What a caller may know of an error: all of one raised on purpose, nothing of a fault of ours."""
    if isinstance(error, BitLMError):
        return error.message
    if isinstance(error, MemoryError):
        return "the machine ran out of memory; the model was left as it was: use a smaller batch_size or model"
    return "the job failed because of a fault in the server; its log has the details"


class Worker:
    """The compute thread. It starts with the first job, and everything that touches a model runs in it."""

    def __init__(self, changed: Callable[[Job], None], prepare: Callable[[], None]) -> None:
        """`changed` is called in the worker's thread after every safe point; `prepare` once, before the first job."""
        self._changed = changed
        self._prepare = prepare
        self._jobs: list[Job] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> Job:
        """Queue a job. Raises ModelStateError when the server is stopping, ResourceLimitError when too many wait."""
        with self._wake:
            if self._stopping:
                raise ModelStateError("the server is stopping: call again when it has been started anew")
            if len(self._jobs) >= MAX_WAITING:
                raise ResourceLimitError(
                    f"{len(self._jobs)} jobs are running or queued already, the limit: wait for some (list_jobs), "
                    "or cancel_job",
                    estimate=len(self._jobs) + 1,
                    limit=MAX_WAITING,
                )
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bitlm-compute", daemon=True)
                self._thread.start()
            self._wake.notify()
        return job

    def stop(self, timeout_s: float) -> None:
        """Cancel everything at the next safe point and wait for the thread to end."""
        with self._wake:
            self._stopping = True
            for job in self._jobs:
                job.cancel()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        broken: Exception | None = None
        try:
            self._prepare()
        except Exception as error:  # the boundary: without it every job would wait for ever
            log.exception("the compute worker could not start")
            broken = error
        while (job := self._next()) is not None:
            if broken:
                job.fail(broken)
            else:
                job.advance()
            with self._wake:
                if job.ended:
                    self._jobs.remove(job)
                elif job.urgency is Urgency.ANSWER:  # takes turns with the others
                    self._jobs.remove(job)
                    self._jobs.append(job)
            self._changed(job)
            job.tell()

    def _next(self) -> Job | None:
        with self._wake:
            while not self._jobs:
                if self._stopping:
                    return None
                self._wake.wait()
            # min keeps the order of arrival among equals, so a job once begun goes on before its younger peers. Cancelled
            # ones go first of all: they only have to be closed.
            return min(self._jobs, key=lambda job: (not job.cancelling, job.urgency))
