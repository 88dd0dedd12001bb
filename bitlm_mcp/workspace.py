"""The state of one server process: models, datasets, checkpoints, jobs, and the snapshot that everyone reads.

Made first, passed on by closure. Models are touched by the compute side alone; everyone else submits jobs and reads
snapshots. What a client is told is done is on the disk before it is told. What can be asked for is in `operations`.

    operation ─→ Job ─→ Runner ─→ states and records on the disk ─→ Snapshot ─→ tools, resources, page
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from bitlm_core import BitLMError, CheckpointInfo, CheckpointStore
from bitlm_mcp.activity import ServerProcess
from bitlm_mcp.compute.transfers import sweep
from bitlm_mcp.data_files import DataFiles
from bitlm_mcp.database import Database
from bitlm_mcp.datasets import DatasetStore
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.events import Changes
from bitlm_mcp.job_files import JobFiles
from bitlm_mcp.jobs import Job
from bitlm_mcp.known_model import Holder, Model
from bitlm_mcp.leases import Leases
from bitlm_mcp.model_store import ModelStore
from bitlm_mcp.presence import Presence
from bitlm_mcp.records import Records
from bitlm_mcp.runner import Runner
from bitlm_mcp.safety import GateMarks, Sessions, Withheld
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import CheckpointView, DatasetView, JobView, ModelView, Snapshot

log = logging.getLogger("bitlm.workspace")

MAX_SHOWN_JOBS = 200
MAX_SHOWN_CALLS = 30

View = TypeVar("View")


class Workspace:
    """Everything one server process knows; its parts may be read by all, and changed through `operations`."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open the state directory. Raises DatabaseError when it cannot be used."""
        state = settings.state_dir
        self.settings = settings
        self.database = Database(state / "bitlm.db")
        self.records = Records(self.database)
        self.presence = Presence(self.database, state / "servers")
        self.presence.reap()
        self.leases = Leases(self.database, self.presence)
        self.files = DataFiles(settings.allow_dirs)
        self.datasets = DatasetStore(state / "datasets")
        self.checkpoints = CheckpointStore(state / "checkpoints")
        self.models = ModelStore(state / "models", self.records, self.leases)
        self.job_files = JobFiles(state / "jobs")
        self.runner = Runner(settings, self.models, self.records, self.presence.server_id, self._publish)
        self.sessions, self.withheld, self.gate_marks = Sessions(), Withheld(self.database), GateMarks()
        self.changes = Changes()
        self.snapshot = Snapshot()
        self._lock = threading.Lock()
        self._seen = 0
        self.writing = threading.Lock()
        """Held from the check whether a model may be changed until the job that changes it is known."""
        self.leaving = False
        """Whether this server is about to go: others are to be asked, and who waits for a job is to wait elsewhere."""
        self.closing = False
        self._sweep()
        self.index_folders()

    # Reading

    def model(self, model_id: str) -> ModelView:
        """The model as everyone sees it. Raises UnknownHandleError."""
        view = self.snapshot.models.get(model_id)
        if view is None:
            raise UnknownHandleError("model", model_id, list(self.snapshot.models), "call init_model or load_checkpoint")
        return view

    def job(self, job_id: str) -> JobView:
        """The job as it stands, whichever server runs it. Raises UnknownHandleError."""
        view = self.snapshot.jobs.get(job_id)
        if view is None:
            row = self.records.job(job_id)
            if row is None:
                raise UnknownHandleError("job", job_id, list(self.snapshot.jobs)[-5:], "call list_jobs")
            view = row.view
        return view

    def jobs_page(self, limit: int, offset: int) -> tuple[list[JobView], int]:
        """Some jobs of all servers, as `Records.jobs_page` has them. Blocks: not for the event loop."""
        rows, total = self.records.jobs_page(limit, offset)
        return [self.snapshot.jobs.get(row.view.job_id, row.view) for row in rows], total

    # Keeping the snapshot

    def catch_up(self) -> None:
        """Take note of what other processes have done, if anything: whatever a client was told, by whichever of them, was done
        before. Blocks: not for the event loop.
        """
        with self._lock:  # which is held until what somebody else has looked at is shown
            if self.database.version() != self._seen:
                self._look(None)

    def refresh(self, taken: str | None = None) -> None:
        """Take note of what has changed on the disk, by this process or another; `taken`: see `ModelStore.refresh`.

        Blocks: not for the event loop.
        """
        with self._lock:
            self._look(taken)

    def reap(self) -> None:
        """As `Presence.reap`, and show what has become of their jobs. Blocks: not for the event loop."""
        if self.presence.reap():
            self.refresh()

    def show_activity(self) -> None:
        """Take note of calls, and of leases that were taken or given back. Blocks: not for the event loop."""
        activity = self._activity()  # before the lock: a training waits for that at every step, and must not for the disk
        with self._lock:
            if any(activity[name] is not getattr(self.snapshot, name) for name in activity):
                self._replace(**activity)

    def show(self) -> None:
        """As `refresh`, after something was done: that it cannot be shown yet is no reason to call it refused."""
        try:
            self.refresh()
        except BitLMError as error:
            log.warning("changes are shown later: %s", error.message)

    def index_folders(self) -> None:
        """Look at all checkpoints and datasets, and take note of them. Blocks: not for the event loop."""
        self.records.reindex("checkpoints", self._scan_checkpoints)
        self.records.reindex("datasets", lambda: {name: asdict(view) for name, view in self.datasets.views().items()})
        self.refresh()

    def leave(self) -> None:
        """Let all know that this server is about to go."""
        self.leaving = True
        self.changes.tell()

    def close(self) -> None:
        """Stop all jobs, save what they have done, and leave the state directory."""
        self.leave()
        self.closing = True
        self.runner.close()
        self.presence.close()
        self.database.close()

    def _sweep(self) -> None:
        """Remove what servers that were killed left behind, if this is the only one that lives: no clock is asked."""
        try:
            with self.database.write() as transaction:
                if self.presence.is_alone(transaction):
                    for store in (self.models, self.checkpoints, self.datasets):
                        store.sweep()
                    self.job_files.sweep(self.records.job_ids(transaction))
                    sweep(self.settings.state_dir)
        except OSError as error:
            log.warning("what earlier servers left behind could not be removed: %s", error)

    def _look(self, taken: str | None) -> None:
        self._seen = self.database.version()
        self.models.refresh(taken)
        before, activity = self.snapshot, self._activity()
        holders = _foreign_holders(activity["servers"])
        rows = self.records.latest_jobs(MAX_SHOWN_JOBS)
        jobs = {row.view.job_id: row.view for row in rows}
        elsewhere = {row.view.job_id for row in rows if row.server_id != self.presence.server_id}
        own = {job_id: view for job_id, view in before.jobs.items() if self.runner.job(job_id)}
        jobs |= {job_id: view for job_id, view in own.items() if job_id not in elsewhere}
        checkpoints = {name: CheckpointView(**facts) for name, facts in self.records.indexed("checkpoints").items()}
        datasets = {name: DatasetView(**facts) for name, facts in self.records.indexed("datasets").items()}
        models = {model.model_id: self._view(model, holders) for model in self.models.all()}
        self._replace(
            models=_kept(before.models, models),
            jobs=_kept(before.jobs, _shown(jobs.values())),
            checkpoints=_kept(before.checkpoints, checkpoints),
            datasets=_kept(before.datasets, datasets),
            **activity,
        )

    def _publish(self, job: Job) -> None:
        """A job has moved: show it, and its model."""
        with self._lock:
            models = self.snapshot.models
            model = self.models.find(job.model_id)
            if model is not None:
                new = job.model_id not in models
                models = models | _kept(models, {job.model_id: self._view(model, self._known_holder(job))})
                models = dict(sorted(models.items())) if new else models
            self._replace(models=models, jobs=_shown([*self.snapshot.jobs.values(), job.view()]))

    def _view(self, model: Model, holders: Mapping[str, Holder]) -> ModelView:
        return model.view(self.runner.writer(model.model_id), holders.get(model.model_id))

    def _replace(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, **changes)
        self.changes.tell()

    def _activity(self) -> dict[str, Any]:
        """What servers do, by the snapshot's names; what is as it was, is the same object."""
        found = {"servers": self.leases.servers(), "calls": tuple(self.records.latest_calls(MAX_SHOWN_CALLS))}
        shown = {name: getattr(self.snapshot, name) for name in found}
        return {name: shown[name] if shown[name] == now else now for name, now in found.items()}

    def _known_holder(self, job: Job) -> dict[str, Holder]:
        """Who else writes the model of a job, as of the last look; nobody where that job does."""
        known = self.snapshot.models.get(job.model_id)
        return {job.model_id: Holder(known.holder, known.job_id)} if known and known.holder and not job.writes else {}

    def _scan_checkpoints(self) -> dict[str, dict[str, Any]]:
        good = {info.name: checkpoint_view(info) for info in self.checkpoints.infos()}
        damaged = (
            CheckpointView(name, 0, 0, "", "", "", damaged=True) for name in self.checkpoints.names() if name not in good
        )
        return {view.name: asdict(view) for view in (*good.values(), *damaged)}


def checkpoint_view(info: CheckpointInfo) -> CheckpointView:
    """A checkpoint as everyone sees it."""
    return CheckpointView(
        name=info.name,
        step=info.step,
        num_bytes=info.bytes_,
        sha256=info.sha256,
        saved_at=info.saved_at,
        model_id=str(info.summary.get("model_id", "")),
        damaged=False,
        pinned=info.pinned,
    )


def _kept(before: Mapping[str, View], now: Mapping[str, View]) -> dict[str, View]:
    """What is now; a view that is what it was stays the same object, so that whoever looks for changes sees none."""
    return {name: before[name] if before.get(name) == view else view for name, view in now.items()}


def _foreign_holders(servers: Iterable[ServerProcess]) -> dict[str, Holder]:
    """Who writes which model, of the other servers."""
    others = [server for server in servers if not server.here]
    return {lease.model_id: Holder(str(server), lease.job_id) for server in others for lease in server.writes}


def _shown(views: Iterable[JobView]) -> dict[str, JobView]:
    """The latest view of each job in the order of their making; the oldest that are over make room."""
    latest = sorted({view.job_id: view for view in views}.values(), key=lambda view: view.created)
    excess = len(latest) - MAX_SHOWN_JOBS
    over = [view.job_id for view in latest if view.over][: max(0, excess)]
    return {view.job_id: view for view in latest if view.job_id not in over}


@contextmanager
def empty_workspace() -> Iterator[Workspace]:
    """One that is gone in a moment: tools belong to a workspace, for whoever only tells of them too."""
    with TemporaryDirectory(prefix="bitlm-") as state, closing(Workspace(ServerSettings(state_dir=Path(state)))) as workspace:
        yield workspace
