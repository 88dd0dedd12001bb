"""How a job looks in a tool's result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bitlm_mcp.jobs import Job, describe
from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.workspace import Workspace

Status = Literal["queued", "running", "completed", "failed", "cancelled"]


class JobResult(Result):
    """A job, with what a training has reached so far."""

    job_id: str
    kind: str
    model_id: str
    status: Status
    progress: float
    steps_done: int | None = None
    steps_total: int | None = None
    step: int | None = None
    loss: Annotated[FiniteOrNone, Field(description="Of the network in training, nats per byte.")] = None
    bits_per_byte: FiniteOrNone = None
    bits_per_byte_mixed: Annotated[FiniteOrNone, Field(description="With context mixing, on bytes new to it.")] = None
    bytes_per_second: FiniteOrNone = None
    eta_s: FiniteOrNone = None
    result: dict[str, Any] | None = None
    error: str | None = None
    version: int
    next: str | None = None


def job_result(workspace: Workspace, job: Job) -> JobResult:
    """The job as it stands now; what a training has reached is as of its own last step."""
    training, now = job.kind == "train_step", job.progress
    return JobResult(
        job_id=job.job_id,
        kind=job.kind,
        model_id=job.model_id,
        status=job.status,
        progress=now.share,
        steps_done=now.steps_done if training else None,
        steps_total=now.steps_total,
        step=now.step,
        loss=now.loss,
        bits_per_byte=now.bits_per_byte,
        bits_per_byte_mixed=now.bits_per_byte_mixed,
        bytes_per_second=now.bytes_per_second,
        eta_s=job.eta_s,
        result=job.result if isinstance(job.result, dict) else None,
        error=describe(job.error) if job.error else None,
        version=workspace.snapshot.version,
        next=_next_call(job),
    )


def _next_call(job: Job) -> str | None:
    if not job.over:
        return f"wait_job(job_id={job.job_id!r})"
    if job.kind == "train_step" and job.status == "completed":
        return f"evaluate(model_id={job.model_id!r}, dataset_id=…) or infer(model_id={job.model_id!r}, prompt=…)"
    return None
