"""Jobs of this process: handed to the compute side, followed by its events, recorded before anyone sees their end.

submit ─→ Compute, Transfers ─→ Progress … ─→ a state saved on the way is published
                            └─→ Ended ─→ what came of it is published ─→ recorded ─→ seen by all
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bitlm_core import BitLMError, CheckpointCorruptError, ModelStateError, ResourceLimitError
from bitlm_mcp.compute.commands import Command
from bitlm_mcp.compute.events import Ended, Event, Progress
from bitlm_mcp.compute.hub_messages import Transfer
from bitlm_mcp.compute.isolated import ComputeDiedError, IsolatedCompute
from bitlm_mcp.compute.messages import ModelRef
from bitlm_mcp.compute.scheduler import Compute, failure_of
from bitlm_mcp.compute.threaded import ThreadedCompute
from bitlm_mcp.compute.tracing import current_trace
from bitlm_mcp.compute.transfers import Transfers
from bitlm_mcp.jobs import Job
from bitlm_mcp.model_store import ModelStore
from bitlm_mcp.presence import INTERRUPTED
from bitlm_mcp.records import Records
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import Status

log = logging.getLogger("bitlm.jobs")

MAX_UNFINISHED = 64
MAX_KEPT = 200
STOP_TIMEOUT_S = 9.0  # less than the transports wait before they give up
STOP_TRANSFERS_S = 1.0  # what they have brought is kept or made again


class Runner:
    """`published` is called after everything that others may want to see, in whatever thread it happened. `server_id`: whose
    jobs these are in the records.
    """

    def __init__(
        self, settings: ServerSettings, models: ModelStore, records: Records, server_id: str, published: Callable[[Job], None]
    ) -> None:
        self._models = models
        self._records = records
        self._server_id = server_id
        self._published = published
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._closing = False
        make = IsolatedCompute if settings.isolate else ThreadedCompute
        self.compute: Compute = make(self._happened, settings.threads, settings.device)
        self.transfers = Transfers(self._happened, settings.hub, settings.state_dir)

    def job(self, job_id: str) -> Job | None:
        """The job, if this process runs it or ran it."""
        return self._jobs.get(job_id)

    def unfinished(self) -> list[Job]:
        """All that run or wait."""
        return [job for job in list(self._jobs.values()) if not job.ended]

    def writer(self, model_id: str, apart_from: Job | None = None) -> Job | None:
        """The job that changes that model now or next."""
        writers = (job for job in self.unfinished() if job.writes and job.model_id == model_id)
        return next((job for job in writers if job is not apart_from), None)

    def submit(self, job: Job) -> Job:
        """Start a job. Raises ModelStateError or ResourceLimitError; then the job has ended, and holds nothing."""
        try:
            with self._lock:
                self._admit()
                self._jobs[job.job_id] = job
        except BitLMError as error:
            self._finish(job, "failed", error)
            raise
        self._published(job)
        self._begin(job, current_trace())
        return job

    def stop(self, job_id: str) -> None:
        """End a job of this process at its next safe point."""
        self.transfers.stop_task(job_id)
        self.compute.stop_task(job_id)

    def close(self) -> None:
        """Stop all jobs at their next safe points; trainings save first."""
        with self._lock:
            self._closing = True
        self.transfers.close(STOP_TRANSFERS_S)
        self.compute.close(STOP_TIMEOUT_S)

    def _begin(self, job: Job, trace: dict[str, str]) -> None:
        command = job.command.model_copy(update={"trace": trace})
        if isinstance(command, Transfer):
            self.transfers.submit(job.job_id, command)
        else:
            self.compute.submit(job.job_id, job.urgency, command)

    def _admit(self) -> None:
        if self._closing:
            raise ModelStateError("the server is stopping: call again when it has been started anew")
        over = [job_id for job_id, job in self._jobs.items() if job.over]
        unfinished = len(self._jobs) - len(over)
        if unfinished >= MAX_UNFINISHED:
            raise ResourceLimitError(
                f"{unfinished} jobs are running or queued already, the limit: wait for some (list_jobs), or cancel_job",
                estimate=unfinished + 1,
                limit=MAX_UNFINISHED,
            )
        for job_id in over[: max(0, len(over) - MAX_KEPT)]:
            del self._jobs[job_id]

    # Events of the compute side and of transfers, in their threads

    def _happened(self, job_id: str, event: Event) -> None:
        job = self._jobs[job_id]
        try:
            if isinstance(event, Progress):
                self._progress(job, event)
            else:
                self._end(job, event)
        except Exception as fault:  # the boundary: it ends this job, never the thread that tells of all
            log.exception("%s of model %s: what came of it", job.kind, job.model_id)
            job.error = failure_of(fault).error()
            self.stop(job_id)
            if isinstance(event, Ended) and not job.ended:
                self._finish(job, "failed", job.error)
        self._published(job)
        job.over = job.ended

    def _progress(self, job: Job, progress: Progress) -> None:
        job.advance(progress)
        self._models.advance(job.model_id, progress.point, progress.alerts, progress.marks)
        if progress.best is not None:
            try:
                job.on_best(progress.best)
            except BitLMError as error:  # the training itself goes on
                log.warning("the best state of model %s was not kept: %s", job.model_id, error.message)
                self._models.advance(job.model_id, None, (f"the best state was not kept: {error.message}",))
        if progress.saved is None:
            return
        try:
            job.on_saved(progress.saved)
        except BitLMError as error:  # another process took the model over, or the disk refuses: to go on would be in vain
            log.warning("%s of model %s: %s", job.kind, job.model_id, error.message)
            job.error = error
            self.compute.stop_task(job.job_id)

    def _end(self, job: Job, event: Ended) -> None:
        status: Status = event.status
        error = job.error
        try:
            following = self._following(job, event)
        except BitLMError as refused:
            return self._finish(job, "failed", refused)
        if following is not None:
            trace, job.command = job.command.trace, following
            return self._begin(job, trace)
        if event.failure is not None:
            error = error or event.failure.error()
            status = self._lost(job, event) or status
        elif error is not None:
            status = "failed"
        elif status == "cancelled" and self._closing and job.resumable:
            status, error = "interrupted", ModelStateError(INTERRUPTED)
        elif status == "completed":
            try:
                job.answer = event.answer
                job.result = job.on_completed(event.answer)
            except BitLMError as refused:
                status, error = "failed", refused
        return self._finish(job, status, error)

    def _following(self, job: Job, event: Ended) -> Command | Transfer | None:
        """What is left to be done of a job: all of it, where the state that it was to read had gone when its turn came, because
        another process has saved later ones. Then it reads the latest.
        """
        if event.status == "completed":
            return job.follow(event.answer)
        model: ModelRef | None = getattr(job.command, "model", None)
        damaged = event.failure is not None and event.failure.kind == CheckpointCorruptError.__name__
        if job.writes or not damaged or model is None or model.sha256 is None or model.state.exists():
            return None
        self._models.refresh()
        now = self._models.ref(model.model_id)
        if now.sha256 == model.sha256:
            return None
        if job.note:
            step = self._models.get(model.model_id).facts.step
            job.note = f"this model was saved again while the call waited: this is of its saved state, step {step}"
        return job.command.model_copy(update={"model": now})

    def _lost(self, job: Job, event: Ended) -> Status | None:
        """What a failure has cost beyond its job; another status for the job where one fits better."""
        assert event.failure is not None  # noqa: S101 - the caller looked
        if event.failure.kind == ComputeDiedError.__name__:
            self._models.fall_back()
            return "interrupted" if job.resumable else None
        if event.failure.model_lost:
            self._models.fall_back(job.model_id)
        return None

    def _finish(self, job: Job, status: Status, error: BitLMError | None) -> None:
        view, own = job.view_at_end(status, error), True
        job.on_ending()
        try:
            if job.recorded:
                own = self._records.update_job(view, self._server_id)
        except BitLMError as refused:
            log.error("the end of %s could not be recorded: %s", job.job_id, refused.message)
            if status == "completed":  # nobody is told of what the next server would not know
                job.answer = job.result = None
                error = ModelStateError(f"the work was done, but its end could not be recorded: {refused.message}")
                view = job.view_at_end("failed", error)
        job.end(view, error)
        try:
            if own:  # else its files are for whoever goes on with it
                job.on_over()
        except BitLMError as refused:
            log.error("what %s held could not be given back: %s", job.job_id, refused.message)
