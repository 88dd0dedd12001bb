"""The state of one server process: models, datasets, checkpoints, jobs, and the snapshot that everyone reads.

Made first, passed on by closure. Models are touched by the compute worker alone; the event loop and other threads only
submit jobs and read snapshots.

    tool ─ submit ─→ Job ─→ Worker ─→ Engine
                                └─ publish ─→ Snapshot ─→ tools, resources, dashboard
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import bitlm_core
from bitlm_core import (
    BitLMError,
    ByteData,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointInfo,
    CheckpointStore,
    ConfigError,
    EngineConfig,
    ModelStateError,
    TrainingConfig,
    TrainingPlan,
    estimate_engine_bytes,
    require_memory,
)
from bitlm_mcp.data_files import DataFiles
from bitlm_mcp.datasets import DatasetStore
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.jobs import Job, Progress, Urgency, Work, Worker
from bitlm_mcp.model_entry import ModelEntry
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import CheckpointView, DatasetView, HistoryPoint, ModelView, Snapshot

if TYPE_CHECKING:  # these bring torch, which only the worker may load
    from bitlm_core import Engine

MAX_FINISHED_JOBS = 200
MAX_MODELS = 32
STOP_TIMEOUT_S = 9.0  # less than the transports wait before they give up
PUBLISH_EVERY_S = 0.1


class Workspace:
    """Everything one server process knows."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.files = DataFiles(settings.allow_dirs)
        self.datasets = DatasetStore(settings.state_dir / "datasets")
        self.checkpoints = CheckpointStore(settings.state_dir / "checkpoints")
        self._models: dict[str, ModelEntry] = {}
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._published = 0.0
        self._worker = Worker(self._job_changed, self._prepare)
        self.snapshot = Snapshot()
        self._refresh_stores()

    # Reading

    def model(self, model_id: str) -> ModelView:
        """The model as everyone sees it. Raises UnknownHandleError."""
        view = self.snapshot.models.get(model_id)
        if view is None:
            raise UnknownHandleError("model", model_id, list(self.snapshot.models), "call init_model or load_checkpoint")
        return view

    def job(self, job_id: str) -> Job:
        """The job. Raises UnknownHandleError."""
        job = self._jobs.get(job_id)
        if job is None:
            raise UnknownHandleError("job", job_id, list(self._jobs)[-5:], "call list_jobs")
        return job

    # Changing: models

    def create_model(self, model_id: str, config: EngineConfig, *, overwrite: bool) -> Job:
        """Make a fresh model. The memory estimate is checked here, before anything is allocated."""
        self._check_replaceable(model_id, overwrite)
        estimate = estimate_engine_bytes(config)
        require_memory(estimate, f"model {model_id!r}")

        def work() -> Generator[Progress, None, ModelView]:
            yield Progress(0.0)  # the last point where a cancel leaves everything as it was
            self._check_replaceable(model_id, overwrite)
            require_memory(estimate, f"model {model_id!r}")
            entry = self._models[model_id] = ModelEntry(bitlm_core.Engine(config))
            return entry.view(model_id)

        return self._submit("init_model", model_id, Urgency.ANSWER, work)

    def train(self, model_id: str, data: ByteData, plan: TrainingPlan, settings: dict[str, Any], *, queue: bool) -> Job:
        """Train a model with the default TrainingConfig but for `settings`. One training at a time, unless queued."""
        model = self._model(model_id)
        running = model.running
        if running and not queue:
            raise ModelStateError(
                f"model {model_id!r} is being trained by {running.job_id} (step {running.progress.steps_done} of "
                f"{running.progress.steps_total or 'a timed run'}): call wait_job or cancel_job with that id, "
                "or pass queue=true"
            )
        config = model.engine.config
        training = TrainingConfig(**settings)
        require_memory(estimate_engine_bytes(config.model_copy(update={"training": training})), f"training {model_id!r}")
        if len(data) < 2:
            raise ConfigError(f"{len(data)} byte is too little to learn from: give at least 2 bytes")
        job = self._submit("train_step", model_id, Urgency.TRAIN, lambda: model.train_steps(data, plan, training))
        model.training = [*(other for other in model.training if not other.ended), job]
        return job

    def use(
        self,
        kind: str,
        model_id: str,
        urgency: Urgency,
        steps: Callable[[Engine], Generator[float, None, Any]],
        result: Callable[[Any, Engine], Any],
    ) -> Job:
        """Run a reading generator of the engine as a job; `result` turns what it returns into the job's result."""
        model = self._model(model_id)

        def work() -> Generator[Progress, None, Any]:
            running = steps(model.engine)
            while True:
                try:
                    share = next(running)
                except StopIteration as stop:
                    return result(stop.value, model.engine)
                yield Progress(share)

        return self._submit(kind, model_id, urgency, work)

    # Changing: checkpoints and datasets

    def save(self, name: str, model_id: str, *, overwrite: bool) -> Job:
        """Save a model under a name."""
        model = self._model(model_id)

        def work() -> Generator[Progress, None, CheckpointView]:
            yield Progress(0.0)  # the last point where a cancel leaves everything as it was
            tensors, header = model.engine.state()
            header |= {"history": [asdict(point) for point in model.history], "alerts": model.alerts}
            summary = {"model_id": model_id, "config": header["config"]}
            info = self.checkpoints.save(
                name,
                lambda path: bitlm_core.write_file(path, tensors, header),
                step=model.engine.step,
                summary=summary,
                overwrite=overwrite,
            )
            self._refresh_stores()
            return _checkpoint_view(info)

        return self._submit("save_checkpoint", model_id, Urgency.ANSWER, work)

    def load(self, name: str, model_id: str, *, overwrite: bool) -> Job:
        """Make a model of a checkpoint."""
        info = self.checkpoints.info(name)
        self._check_replaceable(model_id, overwrite)

        def work() -> Generator[Progress, None, CheckpointView]:
            with _foreign_header(name):
                config = EngineConfig(**info.summary["config"])
            require_memory(estimate_engine_bytes(config), f"checkpoint {name!r}")
            path = self.checkpoints.verified_path(name)
            yield Progress(0.5)  # the last point where a cancel leaves everything as it was
            tensors, header = bitlm_core.read_file(path, name)
            with _foreign_header(name):
                history = tuple(HistoryPoint(**point) for point in header.pop("history"))
                alerts = tuple(map(str, header.pop("alerts")))
            engine = bitlm_core.Engine.from_state(tensors, header)
            self._check_replaceable(model_id, overwrite)
            self._models[model_id] = ModelEntry(engine, history, alerts=alerts)
            return _checkpoint_view(info)

        return self._submit("load_checkpoint", model_id, Urgency.ANSWER, work)

    def add_dataset(
        self, dataset_id: str, chunks: Iterable[bytes], *, source: str, holdout_fraction: float, overwrite: bool
    ) -> DatasetView:
        """Store a dataset. Blocks on the disk: not for the event loop."""
        view = self.datasets.add(dataset_id, chunks, source=source, holdout_fraction=holdout_fraction, overwrite=overwrite)
        self._refresh_stores()
        return view

    def close(self) -> None:
        """Stop the worker at its next safe point."""
        self._worker.stop(STOP_TIMEOUT_S)

    # In the worker's thread

    def _prepare(self) -> None:
        import torch  # the lazy door: nothing before the first job needs it

        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)

    def _check_replaceable(self, model_id: str, overwrite: bool) -> None:
        model = self._models.get(model_id)
        if model is None:
            if len(self._models) >= MAX_MODELS:
                raise ModelStateError(f"{MAX_MODELS} models exist already, the limit: overwrite one of them")
            return
        running = model.running
        if running:
            raise ModelStateError(
                f"model {model_id!r} is being trained by {running.job_id}: cancel_job first, or use another model_id"
            )
        if not overwrite:
            raise ModelStateError(
                f"model {model_id!r} exists already (step {model.engine.step}): choose another model_id, "
                "or pass overwrite=true to replace it"
            )

    def _model(self, model_id: str) -> ModelEntry:
        self.model(model_id)
        return self._models[model_id]

    # Publishing

    def _submit(self, kind: str, model_id: str, urgency: Urgency, work: Work) -> Job:
        job = Job(kind=kind, model_id=model_id, urgency=urgency, work=work)
        with self._lock:
            over = [old.job_id for old in self._jobs.values() if old.over]
            for job_id in over[: max(0, len(over) - MAX_FINISHED_JOBS)]:
                del self._jobs[job_id]
            self._jobs[job.job_id] = job
        try:
            self._worker.submit(job)
        except BitLMError:
            with self._lock:
                del self._jobs[job.job_id]
            raise
        self._publish(job)
        return job

    def _job_changed(self, job: Job) -> None:
        """A safe point was reached: publish what others want to see at once, the steps of answers now and then."""
        quiet = job.urgency is not Urgency.TRAIN and not job.ended
        if quiet and time.monotonic() - self._published < PUBLISH_EVERY_S:
            return
        self._publish(job)

    def _refresh_stores(self) -> None:
        checkpoints = {}
        for name in self.checkpoints.names():
            try:
                checkpoints[name] = _checkpoint_view(self.checkpoints.info(name))
            except CheckpointError:
                checkpoints[name] = CheckpointView(name, 0, 0, "", "", "", damaged=True)
        self._publish(datasets=self.datasets.views(), checkpoints=checkpoints)

    def _publish(self, job: Job | None = None, **changes: Any) -> None:
        """Replace the snapshot, with the job and its model as they are now."""
        with self._lock:
            old = self.snapshot
            if job is not None:
                kept = {job_id: view for job_id, view in old.jobs.items() if job_id in self._jobs}
                changes["jobs"] = kept | {job.job_id: job.view()}
                entry = self._models.get(job.model_id)
                if entry is not None:
                    changes["models"] = old.models | {job.model_id: entry.view(job.model_id)}
            self.snapshot = replace(old, version=old.version + 1, **changes)
            self._published = time.monotonic()


@contextmanager
def _foreign_header(name: str) -> Iterator[None]:
    """Around the reading of a checkpoint's header: what does not fit is damage, not a fault of ours."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointCorruptError(
            f"checkpoint {name!r} has a header that this program cannot read ({type(error).__name__}): load another one",
            name=name,
        ) from error


def _checkpoint_view(info: CheckpointInfo) -> CheckpointView:
    return CheckpointView(
        name=info.name,
        step=info.step,
        num_bytes=info.bytes_,
        sha256=info.sha256,
        saved_at=info.saved_at,
        model_id=str(info.summary.get("model_id", "")),
        damaged=False,
    )
