"""Training: begun, repeated under the same key, and resumed where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bitlm_core import ConfigError, EngineConfig, ModelStateError, TrainingConfig, TrainingPlan, check_ending, check_training
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.events import standing
from bitlm_mcp.compute.launch import line_for_others
from bitlm_mcp.compute.messages import DataPart, Saved
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.best_states import best_name, best_of, keep_best, keep_small, small_name
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.sharing import Sharing
from bitlm_mcp.operations.writing import submit_writer
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.workspace import Workspace


@dataclass(frozen=True)
class _Training:
    """One training that may begin: its model, data, plan (asked for when the model cannot change any more) and settings.

    held_out: for a plan that looks at held-out data. sharing: None where one process trains.
    """

    model_id: str
    part: DataPart
    held_out: DataPart | None
    plan: Callable[[], TrainingPlan]
    training: TrainingConfig
    sharing: Sharing | None = None

    def request(self, dataset_id: str | None) -> dict[str, Any]:
        """What is recorded of it: enough to repeat it, and to know whether it would be the same."""
        return {
            "model_id": self.model_id,
            "dataset_id": dataset_id,
            "data_sha256": self.part.digest,
            "held_out_sha256": self.held_out.digest if self.held_out else None,
            "plan": self.plan().model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            **({"sharing": self.sharing.plain()} if self.sharing else {}),
        }


def train(
    workspace: Workspace,
    model_id: str,
    source: Source,
    plan: TrainingPlan,
    training: TrainingConfig,
    *,
    queue: bool,
    idempotency_key: str | None,
    sharing: Sharing | None = None,
) -> JobView:
    """Train a model: one training at a time, unless queued. The same call with the same key gives the same job again."""
    workspace.catch_up()
    _check(workspace, workspace.models.get(model_id).facts.config, plan, training, sharing)
    held_out = _held_out(workspace, source.dataset_id) if plan.validate_every else None
    job_id = new_job_id()
    part = source.part(workspace, job_id, holdout=False)
    asked = _Training(model_id, part, held_out, lambda: plan, training, sharing)
    request = asked.request(source.dataset_id)
    try:
        known = workspace.records.job_of_key(idempotency_key, request) if idempotency_key else None
        if known is not None:
            workspace.job_files.forget([job_id])
            return workspace.job(known.view.job_id)
        if part.num_bytes < 2:
            raise ConfigError(f"{part.num_bytes} byte is too little to learn from: give at least 2 bytes")

        def record(job: Job) -> None:
            workspace.records.add_job(job.view(), request, workspace.presence.server_id, idempotency_key)

        with workspace.writing:
            _check_idle(workspace, model_id, queue)
            return _begin(workspace, asked, job_id, record).view()
    except BaseException:
        workspace.job_files.forget([job_id])
        raise


def resume(workspace: Workspace, job_id: str, *, queue: bool) -> JobView:
    """Let a training that was interrupted or cancelled go on from the last saved state."""
    workspace.reap()
    row = workspace.records.job(job_id)
    if row is None or row.view.kind != "train_step":
        raise UnknownHandleError("training job", job_id, list(workspace.snapshot.jobs)[-5:], "call list_jobs")
    view, request = row.view, row.request
    if view.status not in ("interrupted", "cancelled"):
        raise ModelStateError(f"job {job_id} is {view.status}, not interrupted or cancelled: start a new training")
    plan, training = _recorded(job_id, request)
    part, held_out = _data_again(workspace, job_id, request)
    sharing = Sharing.recorded(request)
    if sharing:  # this server may have been started otherwise
        sharing.check(workspace, workspace.models.get(view.model_id).facts.config, plan, training)

    def record(job: Job) -> None:
        job.created, job.saved_step = view.created, view.saved_step
        if not workspace.records.take_job(job.view(), workspace.presence.server_id):
            raise ModelStateError(f"job {job_id} goes on already: call wait_job")

    with workspace.writing:
        _check_idle(workspace, view.model_id, queue)
        asked = _Training(view.model_id, part, held_out, lambda: _plan_again(workspace, view, plan), training, sharing)
        return _begin(workspace, asked, job_id, record).view()


def _check(
    workspace: Workspace, config: EngineConfig, plan: TrainingPlan, training: TrainingConfig, sharing: Sharing | None
) -> None:
    """Raise ConfigError for what cannot be trained so."""
    check_training(config.model, training, plan)
    if plan.growing:
        check_ending(config, plan.growing.settings)
    if sharing:
        sharing.check(workspace, config, plan, training)


def _begin(workspace: Workspace, asked: _Training, job_id: str, record: Callable[[Job], None]) -> Job:
    model_id = asked.model_id

    def make(lease: Lease) -> Job:
        plan = asked.plan()
        best = best_name(workspace, model_id, job_id) if plan.patience else None
        small = small_name(workspace, model_id, job_id) if plan.growing and plan.growing.settings.ends_small else None
        beside = (workspace.checkpoints.scratch(name).parent if name else None for name in (best, small))
        command = _command(workspace, asked, job_id, plan, *beside)
        job = Job("train_step", model_id, Urgency.TRAIN, command, job_id=job_id, recorded=True)
        job.progress = standing(plan)
        if asked.sharing and asked.sharing.nodes > 1:
            job.result = {"on_the_other_nodes": line_for_others(asked.sharing.processes(workspace, job_id), job_id)}

        def publish(saved: Saved) -> None:
            workspace.models.publish(model_id, saved, lease)
            job.saved_step = saved.facts.step
            workspace.records.update_job(job.view(), workspace.presence.server_id)

        def tidy() -> None:
            if job.status in ("completed", "failed"):  # nothing of it can go on
                workspace.job_files.forget([job_id])

        def complete(answer: answers.Written) -> dict[str, Any] | None:
            publish(answer.saved)
            if small and answer.small:
                job.tell(answer.small.message)
                workspace.models.advance(model_id, None, (answer.small.message,))
                return keep_small(workspace, small, model_id, job_id, answer.small)
            return best_of(workspace, best, job_id) if best else None

        job.on_saved, job.on_over, job.on_completed = publish, tidy, complete
        job.on_best = lambda saved: keep_best(workspace, best or "", model_id, job_id, saved)
        record(job)
        return job

    return submit_writer(workspace, model_id, make)


def _command(
    workspace: Workspace, asked: _Training, job_id: str, plan: TrainingPlan, best_to: Path | None, small_to: Path | None
) -> commands.Train:
    return commands.Train(
        model=workspace.models.ref(asked.model_id),
        job_id=job_id,
        data=asked.part,
        held_out=asked.held_out,
        plan=plan,
        training=asked.training,
        autosave_s=workspace.settings.autosave_s,
        save_to=workspace.models.folder(asked.model_id),
        processes=asked.sharing.processes(workspace, job_id) if asked.sharing else None,
        best_to=best_to,
        small_to=small_to,
    )


def _check_idle(workspace: Workspace, model_id: str, queue: bool) -> None:
    writer = workspace.runner.writer(model_id)
    if writer is not None and not queue:
        steps = f"{writer.progress.steps_done} of {writer.progress.steps_total or 'a timed run'}"
        raise ModelStateError(
            f"model {model_id!r} is being trained by {writer.job_id} (step {steps}): call wait_job or cancel_job with that id, "
            "or pass queue=true"
        )


def _recorded(job_id: str, request: dict[str, Any]) -> tuple[TrainingPlan, TrainingConfig]:
    try:
        return TrainingPlan.model_validate(request["plan"]), TrainingConfig.model_validate(request["training"])
    except ValidationError as error:
        raise ModelStateError(
            f"job {job_id} was recorded by another version of this program, with settings that this one does not have: "
            "start a new training"
        ) from error


def _plan_again(workspace: Workspace, view: JobView, plan: TrainingPlan) -> TrainingPlan:
    """What is left of a plan, as of the saved state."""
    facts = workspace.models.get(view.model_id).facts
    if facts.trained_by == view.job_id and facts.plan is not None:
        return facts.plan
    if view.saved_step is not None:
        raise ModelStateError(
            f"model {view.model_id!r} has been changed since {view.job_id} saved its step {view.saved_step}: start a new "
            "training, or load a checkpoint of then"
        )
    return plan


def _held_out(workspace: Workspace, dataset_id: str | None) -> DataPart:
    """What a training may look at and never learns. Raises ConfigError where there is none."""
    if dataset_id is None:
        raise ConfigError(
            "validate_every, patience and progressive look at the held-out part of a dataset, and text and data_base64 have "
            "none: call add_dataset and pass its dataset_id, or leave them out"
        )
    part = workspace.datasets.part(dataset_id, holdout=True)
    if part.num_bytes < 2:
        raise ConfigError(
            f"the held-out part of dataset {dataset_id!r} has {part.num_bytes} byte, and a look needs 2: add it again with "
            "overwrite=true and a larger holdout_fraction"
        )
    return part


def _data_again(workspace: Workspace, job_id: str, request: dict[str, Any]) -> tuple[DataPart, DataPart | None]:
    """What a training learns and what it looks at, if they are what they were."""
    dataset_id = request["dataset_id"]
    part = workspace.datasets.part(dataset_id, holdout=False) if dataset_id else workspace.job_files.input(job_id)
    held_out = _held_out(workspace, dataset_id) if request.get("held_out_sha256") else None
    if part.digest != request["data_sha256"] or (held_out and held_out.digest != request["held_out_sha256"]):
        raise ModelStateError(f"the data of {job_id} was replaced since: start a new training on what it is now")
    return part, held_out
