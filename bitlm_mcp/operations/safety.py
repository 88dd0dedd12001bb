"""Calibrating a model's safety gate: a change of the model, which is kept with it."""

from __future__ import annotations

from typing import Any

from bitlm_core import ModelStateError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.writing import submit_writer
from bitlm_mcp.workspace import Workspace


def calibrate_floors(workspace: Workspace, model_id: str, dataset_id: str, quantile: float) -> Job:
    """Find the floors that healthy generations pass, with the held-out part of a dataset."""
    workspace.catch_up()
    workspace.models.get(model_id)
    job_id = new_job_id()
    part = Source(dataset_id=dataset_id).part(workspace, job_id, holdout=True)

    def make(lease: Lease) -> Job:
        command = commands.Calibrate(
            model=workspace.models.ref(model_id), data=part, quantile=quantile, save_to=workspace.models.folder(model_id)
        )
        job = Job("calibrate_floors", model_id, Urgency.READ, command, job_id=job_id, recorded=True)

        def publish(answer: answers.Calibrated) -> dict[str, Any]:
            workspace.models.publish(model_id, answer.saved, lease)
            workspace.sessions.forget(model_id)
            rows = [row.model_dump(mode="json") for row in answer.saved.facts.config.floors.calibrated]
            return {"num_generations": answer.num_generations, "floors": [_plain(row) for row in rows]}

        job.on_completed = publish
        request = {"model_id": model_id, "dataset_id": dataset_id, "data_sha256": part.digest, "quantile": quantile}
        workspace.records.add_job(job.view(), request, workspace.presence.server_id)
        return job

    with workspace.writing:
        writer = workspace.runner.writer(model_id)
        if writer is not None:
            raise ModelStateError(
                f"model {model_id!r} is being changed by {writer.job_id} ({writer.kind}): wait_job or cancel_job first"
            )
        return submit_writer(workspace, model_id, make)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as callers see it: each range as its two ends."""
    return {name: [value["low"], value["high"]] if isinstance(value, dict) else value for name, value in row.items()}
