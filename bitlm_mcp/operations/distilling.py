"""distill_model: a job that makes a smaller model of another one. The new model is there when the job has completed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitlm_core import ConfigError, DistillConfig, EngineConfig, check_smaller
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.messages import DataPart
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.writing import check_replaceable, submit_writer
from bitlm_mcp.workspace import Workspace


def distill_model(
    workspace: Workspace,
    model_id: str,
    student_id: str,
    dataset_id: str,
    student_of: Callable[[EngineConfig], EngineConfig],
    settings: DistillConfig,
    *,
    overwrite: bool,
) -> Job:
    """Distil a model into `student_id`, on a dataset with a held-out part. `student_of`: the student's config by the teacher's.

    Raises ConfigError for a student that is no smaller than its teacher, or is the teacher itself, and without held-out data.
    """
    workspace.catch_up()
    if student_id == model_id:
        raise ConfigError(f"student_id={student_id!r} is the teacher itself, which stays as it is: choose another name")
    teacher, job_id = workspace.models.get(model_id).facts.config, new_job_id()
    command = _command(workspace, model_id, student_id, dataset_id, student_of(teacher), settings)
    check_smaller(teacher.model, command.config.model)

    def make(lease: Lease) -> Job:
        check_replaceable(workspace, student_id, overwrite)

        def install(answer: answers.Distilled) -> dict[str, Any]:
            workspace.models.install(student_id, command.incarnation, answer.saved, answer.record, lease, answer.metrics)
            return {"student_id": student_id, **answer.metrics}

        job = Job("distill_model", student_id, Urgency.TRAIN, command, job_id=job_id, recorded=True, on_completed=install)
        request: dict[str, Any] = {"model_id": model_id, "dataset_id": dataset_id, "data_sha256": command.data.digest}
        request |= command.model_dump(mode="json", include={"config", "settings"})
        workspace.records.add_job(job.view(), request, workspace.presence.server_id)
        return job

    with workspace.writing:
        return submit_writer(workspace, student_id, make)


def _command(
    workspace: Workspace, model_id: str, student_id: str, dataset_id: str, config: EngineConfig, settings: DistillConfig
) -> commands.Distill:
    learned, held_out = _parts(workspace, dataset_id)
    return commands.Distill(
        model=workspace.models.ref(model_id),
        student_id=student_id,
        incarnation=workspace.models.new_incarnation(),
        data=learned,
        held_out=held_out,
        config=config,
        settings=settings,
        save_to=workspace.models.folder(student_id),
    )


def _parts(workspace: Workspace, dataset_id: str) -> tuple[DataPart, DataPart]:
    """What is learned, and what is held out."""
    learned, held_out = (workspace.datasets.part(dataset_id, holdout=holdout) for holdout in (False, True))
    if min(learned.num_bytes, held_out.num_bytes) < 2:
        raise ConfigError(
            f"dataset {dataset_id!r} has {learned.num_bytes:,} bytes to learn from and {held_out.num_bytes:,} held out, and a "
            "student needs 2 of each: add it again with overwrite=true and a larger holdout_fraction"
        )
    return learned, held_out
