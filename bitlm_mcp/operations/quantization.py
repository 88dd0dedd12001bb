"""quantize_model: another model, or the same one in place, the state before kept as a checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from itertools import count
from typing import Any, Literal

from bitlm_core import ConfigError, ModelStateError, check_quantization
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.writing import check_replaceable, submit_writer
from bitlm_mcp.workspace import Workspace, checkpoint_view

Mode = Literal["int8", "int4", "float32"]
_LONGEST = 44  # characters of a model's id, so that a checkpoint's name has room for what follows


def quantize_model(
    workspace: Workspace,
    model_id: str,
    mode: Mode,
    *,
    qat_steps: int,
    dataset_id: str | None,
    to: str | None,
    overwrite: bool,
) -> Job:
    """Quantise a model into `to`, or in place. Raises ConfigError or ModelStateError for what cannot be, or not now."""
    workspace.catch_up()
    _check(workspace, model_id, mode, qat_steps, dataset_id)
    target, in_place, job_id = to or model_id, to in (None, model_id), new_job_id()
    part = Source(dataset_id=dataset_id).part(workspace, job_id, holdout=False) if dataset_id is not None else None

    def make(lease: Lease) -> Job:
        if not in_place:
            check_replaceable(workspace, target, overwrite)
        name = _name_before(workspace, model_id, mode) if in_place else None
        command = commands.Quantize(
            model=workspace.models.ref(model_id),
            to=target,
            incarnation=workspace.models.new_incarnation(),
            mode=mode,
            qat_steps=qat_steps,
            data=part,
            save_to=workspace.models.folder(target),
            before_to=workspace.checkpoints.scratch(name).parent if name else None,
        )
        urgency = Urgency.TRAIN if qat_steps else Urgency.READ
        job = Job("quantize_model", target, urgency, command, job_id=job_id, recorded=True)
        job.on_completed = lambda answer: _install(workspace, command, name, answer, lease)
        request = {"model_id": model_id, "mode": mode, "qat_steps": qat_steps, "dataset_id": dataset_id, "to": to}
        workspace.records.add_job(job.view(), request, workspace.presence.server_id)
        return job

    with workspace.writing:
        _check_idle(workspace, target)
        return submit_writer(workspace, target, make)


def _install(
    workspace: Workspace, command: commands.Quantize, name: str | None, answer: answers.Quantized, lease: Lease
) -> dict[str, Any]:
    """Publish what was made; first, as the checkpoint of that name, what was there. Raises where the disk refuses either."""
    saved, file_bytes = answer.saved, answer.saved.path.stat().st_size
    if name and answer.before:
        _keep(workspace, name, command.to, answer.before)
    workspace.models.install(command.to, command.incarnation, saved, answer.record, lease)
    workspace.sessions.forget(command.to)
    return {
        "model_id": command.to,
        "mode": command.mode,
        "network_bytes": answer.network_bytes,
        "network_bytes_before": answer.network_bytes_before,
        "file_bytes": file_bytes,
        "checkpoint_before": name,
        "step": saved.facts.step,
    }


def _check_idle(workspace: Workspace, model_id: str) -> None:
    writer = workspace.runner.writer(model_id)
    if writer is not None:
        raise ModelStateError(
            f"model {model_id!r} is being changed by {writer.job_id} ({writer.kind}): wait_job or cancel_job first"
        )


def _check(workspace: Workspace, model_id: str, mode: Mode, qat_steps: int, dataset_id: str | None) -> None:
    network = workspace.models.get(model_id).facts.config.model
    if mode != "float32":
        check_quantization(network, qat_steps, dataset_id is not None)
        return
    if qat_steps or dataset_id is not None:
        raise ConfigError(
            f"qat_steps={qat_steps}, dataset_id={dataset_id!r}: mode='float32' rounds nothing, so there is nothing to learn: "
            "leave them out"
        )
    if network.quantized is None:
        raise ConfigError(f"model {model_id!r} is float32 already, so there is nothing to undo: train it as it is")


def _name_before(workspace: Workspace, model_id: str, mode: Mode) -> str:
    """A name that no checkpoint has. Blocks: not for the event loop."""
    short = model_id
    if len(short) > _LONGEST:
        short = f"{model_id[: _LONGEST - 9]}-{hashlib.sha256(model_id.encode()).hexdigest()[:8]}"
    taken, name = set(workspace.checkpoints.names()), f"{short}.before-{mode}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(found for found in names if found not in taken)


def _keep(workspace: Workspace, name: str, model_id: str, before: Saved) -> None:
    """Make the state before a checkpoint. Raises CheckpointError where the disk refuses; then nothing has been changed."""
    workspace.checkpoints.publish(
        name,
        before.path,
        step=before.facts.step,
        summary=before.facts.model_dump(mode="json") | {"model_id": model_id},
        overwrite=False,
        guard=lambda info: workspace.records.indexing("checkpoints", name, asdict(checkpoint_view(info))),
    )
