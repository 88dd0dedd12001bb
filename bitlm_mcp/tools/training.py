"""train_step, wait_job, list_jobs, cancel_job: learning, and following what takes long."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import TrainingPlan
from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.job_results import JobResult, job_result
from bitlm_mcp.tools.parameters import DataBase64, JobId, ModelId, OptionalDatasetId, Text, WaitSeconds
from bitlm_mcp.tools.sources import given_data
from bitlm_mcp.tools.waiting import finished_result, wait_for
from bitlm_mcp.workspace import Workspace

CANCEL_WAIT_S = 10.0


class JobSummary(Result):
    """One job in a list."""

    job_id: str
    kind: str
    model_id: str
    status: str
    progress: float
    eta_s: FiniteOrNone = None
    error: str | None = None


class CancelResult(Result):
    """A job that was asked to stop: its status, its steps, and the step its model stands at."""

    job_id: str
    status: str
    steps_done: int
    step: int | None = None
    version: int


class JobList(Result):
    """Jobs, the latest first."""

    jobs: list[JobSummary]
    version: int


def training_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def train_step(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        steps: Annotated[
            int | None, Field(ge=1, le=1_000_000, description="Optimizer steps; 1 when seconds is not given either.")
        ] = None,
        seconds: Annotated[
            float | None, Field(gt=0, le=86_400, description="Time to train for; with steps, whichever ends first.")
        ] = None,
        batch_size: Annotated[int | None, Field(ge=1, le=1024, description="Windows per optimizer step.")] = None,
        learning_rate: Annotated[float | None, Field(gt=0, le=1, description="Peak of the learning rate.")] = None,
        objective: Annotated[
            Literal["causal", "diffusion"],
            Field(description="causal for infer and evaluate; diffusion for diffusion_sample."),
        ] = "causal",
        wait_s: WaitSeconds = 20,
        queue: Annotated[bool, Field(description="Wait for a running training of this model instead of failing.")] = False,
    ) -> JobResult:
        """Train a model on exactly one of dataset_id, text or data_base64, for some steps or seconds.

        Returns within wait_s: finished, or with a job_id that goes on in the background (then call wait_job).
        The learning rate falls to almost zero over each call, so one long call learns more than many short ones.
        """
        data = given_data(workspace, dataset_id, text, data_base64, holdout=False)
        plan = TrainingPlan(objective=objective, steps=steps or (None if seconds else 1), seconds=seconds)
        given = {"batch_size": batch_size, "learning_rate": learning_rate}
        settings = {name: value for name, value in given.items() if value is not None}
        job = workspace.train(model_id, data, plan, settings, queue=queue)
        await wait_for(job, min(wait_s, workspace.settings.max_wait_s), ctx, owner=True)
        if job.status == "failed":
            finished_result(job)
        return job_result(workspace, job)

    async def wait_job(ctx: Context[Any, Any], job_id: JobId, wait_s: WaitSeconds = 45) -> JobResult:
        """Wait until a job ends, or for wait_s; then tell where it stands. Call it again while it is running."""
        job = workspace.job(job_id)
        await wait_for(job, min(wait_s, workspace.settings.max_wait_s), ctx, owner=False)
        return job_result(workspace, job)

    async def cancel_job(ctx: Context[Any, Any], job_id: JobId) -> CancelResult:
        """Stop a job at its next step. A cancelled training keeps what it has learned."""
        job = workspace.job(job_id)
        job.cancel()
        await wait_for(job, CANCEL_WAIT_S, ctx, owner=False)
        model = workspace.snapshot.models.get(job.model_id)
        return CancelResult(
            job_id=job_id,
            status=job.status,
            steps_done=job.progress.steps_done,
            step=model.step if model else None,
            version=workspace.snapshot.version,
        )

    async def list_jobs(
        limit: Annotated[int, Field(ge=1, le=100, description="How many jobs to list at most.")] = 10,
    ) -> JobList:
        """List jobs: running ones, then queued ones in their order, then those that ended, the latest first."""
        snapshot = workspace.snapshot
        jobs = sorted(snapshot.jobs.values(), key=_rank)
        names = JobSummary.model_fields
        shown = [JobSummary(**{k: v for k, v in asdict(job).items() if k in names}) for job in jobs[:limit]]
        return JobList(jobs=shown, version=snapshot.version)

    return [
        ToolSpec(train_step, "Train", read_only=False, destructive=False, idempotent=False),
        ToolSpec(wait_job, "Wait for a job", read_only=True, destructive=False, idempotent=True),
        ToolSpec(cancel_job, "Cancel a job", read_only=False, destructive=True, idempotent=True),
        ToolSpec(list_jobs, "List jobs", read_only=True, destructive=False, idempotent=True),
    ]


def _rank(job: JobView) -> tuple[int, float]:
    if job.finished is not None:
        return 2, -job.finished
    return (0 if job.status == "running" else 1), job.created
