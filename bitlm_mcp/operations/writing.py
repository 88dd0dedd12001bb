"""What all changes of a model have in common: one at a time, under the model's lease, until the job has ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bitlm_core import ModelStateError
from bitlm_mcp.jobs import Job
from bitlm_mcp.leases import Lease
from bitlm_mcp.workspace import Workspace

MAX_MODELS = 256


def submit_writer(workspace: Workspace, model_id: str, make: Callable[[Lease], Job]) -> Job:
    """Submit the job that `make` returns for the lease it is given; the lease is given back when the job ends, or when
    `make` raises. What `make` sees of the models is what it will change: no other process can. Call this while holding
    `workspace.writing`.
    """
    lease = workspace.leases.acquire(model_id, "a change of it")
    try:
        before = workspace.runner.writer(model_id)
        if before is None:
            workspace.refresh(taken=model_id)
        job = make(lease)
    except BaseException:
        workspace.leases.release(lease)
        raise
    if before is None:
        _tell(workspace, lease, job)
    job.writes, job.on_ending = True, partial(_give_back, workspace, lease, job)
    return workspace.runner.submit(job)


def _give_back(workspace: Workspace, lease: Lease, job: Job) -> None:
    """Of the jobs that share a lease, the others hear of the one that writes now, which they may wait for or cancel."""
    workspace.leases.release(lease)
    following = workspace.runner.writer(lease.model_id, apart_from=job)
    if following is not None:
        _tell(workspace, lease, following)


def _tell(workspace: Workspace, lease: Lease, job: Job) -> None:
    workspace.leases.tell(lease, job.kind, job.job_id if job.recorded else None)


def check_replaceable(workspace: Workspace, model_id: str, overwrite: bool) -> None:
    """Raise ModelStateError when a model of that id may not be made."""
    writer = workspace.runner.writer(model_id)
    if writer is not None:
        raise ModelStateError(
            f"model {model_id!r} is being changed by {writer.job_id} ({writer.kind}): cancel_job first, or use another model_id"
        )
    model = workspace.models.find(model_id)
    if model is None and len(workspace.models) >= MAX_MODELS:
        raise ModelStateError(f"{MAX_MODELS} models exist already, the limit: delete some, or overwrite one of them")
    if model is not None and not overwrite:
        raise ModelStateError(
            f"model {model_id!r} exists already (step {model.step}): choose another model_id, "
            "or pass overwrite=true to replace it"
        )
