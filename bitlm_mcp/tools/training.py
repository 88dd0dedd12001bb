"""train_step, wait_job, list_jobs, cancel_job, read_output: learning, and following what takes long."""

from __future__ import annotations

import base64
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.sharing import Sharing
from bitlm_mcp.operations.training import resume, train
from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools import plans
from bitlm_mcp.tools.coding_results import with_input
from bitlm_mcp.tools.job_results import JobResult, job_result
from bitlm_mcp.tools.parameters import (
    CompressInput,
    DataBase64,
    JobId,
    Limit,
    ModelId,
    Offset,
    OptionalDatasetId,
    Text,
    WaitSeconds,
    one_of,
)
from bitlm_mcp.tools.sources import given_data, unpacked
from bitlm_mcp.tools.waiting import STOP_WAIT_S, off_loop, raise_failure, wait_for
from bitlm_mcp.workspace import Workspace

MAX_ERROR = 160
"""Characters of an error in a list; wait_job tells the whole."""


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


class OutputResult(Result):
    """A piece of a job's output."""

    job_id: str
    offset: int
    data_base64: str
    bytes: int
    total_bytes: int
    next: str | None = None


class JobList(Result):
    """Some jobs, of how many there are."""

    jobs: list[JobSummary]
    total: int
    version: int
    next: str | None = None


def _outcome(workspace: Workspace, view: JobView) -> JobResult:
    """How a training stands; one that failed raises its error."""
    if view.status == "failed":
        raise_failure(view)
    return job_result(workspace, view)


async def _begun(workspace: Workspace, given: dict[str, Any]) -> tuple[JobView, Source]:
    """The training that the arguments of train_step ask for, begun or resumed, and its data."""
    run, asked, settings = (plans.named(given, names) for names in (plans.LENGTH, plans.KIND, plans.SETTINGS))
    sources = plans.named(given, ("dataset_id", "text", "data_base64"))
    compress_input, key, queue, resumed = (given[n] for n in ("compress_input", "idempotency_key", "queue", "resume_job"))
    asked["growing"] = plans.growing_of(given)
    sharing = Sharing.of(*(given[name] for name in ("nproc", "nodes", "parallel")))
    if resumed is not None:
        one_of(resume_job=resumed, **sources)
        plans.refuse_beside_resume([*run.values(), *settings.values(), sharing, compress_input, key], asked)
        return await off_loop(resume, workspace, resumed, queue=queue), Source()
    source, asked = await unpacked(given_data(**sources), compress_input, given["data_base64"]), run | asked
    plan, training = plans.plan_of(**asked), plans.settings_of(settings)
    begin = partial(train, workspace, given["model_id"], queue=queue, idempotency_key=key, sharing=sharing)
    return await off_loop(begin, source, plan, training), source


def training_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def train_step(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        steps: plans.Steps = None,
        seconds: plans.Seconds = None,
        batch_size: plans.BatchSize = None,
        learning_rate: plans.LearningRate = None,
        objective: plans.Objective = "causal",
        mask_unit: plans.MaskUnit = "byte",
        noise_curriculum: plans.NoiseCurriculum = False,
        carry: plans.Carry = False,
        validate_every: plans.ValidateEvery = None,
        patience: plans.Patience = None,
        progressive: plans.Progressive = False,
        improve_threshold: plans.ImproveThreshold = None,
        max_parameters: plans.MaxParameters = None,
        auto_collapse: plans.AutoCollapse = False,
        quantize: plans.QuantizeAtEnd = None,
        nproc: plans.Nproc = 1,
        nodes: plans.Nodes = 1,
        parallel: plans.ParallelWay = "ddp",
        optimizer: plans.Optimizer = None,
        accumulation: plans.Accumulation = None,
        use_autocast: plans.UseAutocast = None,
        compile: plans.Compile = None,
        compress_input: CompressInput = None,
        compress_prob: plans.CompressProb = None,
        direct_prob: plans.DirectProb = None,
        wait_s: WaitSeconds = 20,
        queue: plans.Queue = False,
        resume_job: plans.ResumeJob = None,
        idempotency_key: plans.IdempotencyKey = None,
    ) -> JobResult:
        """Train a model on exactly one of dataset_id, text or data_base64, for some steps or seconds.

        Returns within wait_s: finished, or with a job_id for wait_job. One long call learns more than many short ones.
        """
        view, source = await _begun(workspace, locals())
        view = await wait_for(workspace, view.job_id, min(wait_s, workspace.settings.max_wait_s), ctx, owner=True)
        return with_input(_outcome(workspace, view), source)

    async def wait_job(ctx: Context[Any, Any], job_id: JobId, wait_s: WaitSeconds = 45) -> JobResult:
        """Wait until a job ends, or for wait_s. Call it again while it is running."""
        view = await wait_for(workspace, job_id, min(wait_s, workspace.settings.max_wait_s), ctx, owner=False)
        return job_result(workspace, view)

    async def cancel_job(ctx: Context[Any, Any], job_id: JobId) -> CancelResult:
        """Stop a job at its next step. A cancelled training keeps what it has learned, and can be resumed."""
        await off_loop(cancel, workspace, job_id)
        view = await wait_for(workspace, job_id, STOP_WAIT_S, ctx, owner=False)
        model = workspace.snapshot.models.get(view.model_id)
        return CancelResult(
            job_id=job_id,
            status=view.status,
            steps_done=view.steps_done,
            step=model.step if model else None,
            version=workspace.snapshot.version,
        )

    async def list_jobs(limit: Limit = 5, offset: Offset = 0) -> JobList:
        """List jobs: unfinished, then ended, the latest first."""
        jobs, total = await off_loop(workspace.jobs_page, limit, offset)
        after = offset + len(jobs)
        return JobList(
            jobs=[_summary(job) for job in jobs],
            total=total,
            version=workspace.snapshot.version,
            next=f"list_jobs(offset={after})" if after < total else None,
        )

    async def read_output(
        job_id: JobId,
        offset: Annotated[int, Field(ge=0, description="First byte.")] = 0,
        limit: Annotated[int, Field(ge=1, le=32_768, description="Bytes at most.")] = 1024,
    ) -> OutputResult:
        """Read what a job has made, piece by piece; of infer_long, predicted bits (nine a byte), packed."""
        data, total = await off_loop(workspace.job_files.read_output, job_id, offset, limit)
        after = offset + len(data)
        return OutputResult(
            job_id=job_id,
            offset=offset,
            data_base64=base64.b64encode(data).decode(),
            bytes=len(data),
            total_bytes=total,
            next=f"read_output(job_id={job_id!r}, offset={after})" if after < total else None,
        )

    return [
        ToolSpec(train_step, "Train", read_only=False, destructive=False, idempotent=False),
        ToolSpec(wait_job, "Wait for a job", read_only=True, destructive=False, idempotent=True),
        ToolSpec(cancel_job, "Cancel a job", read_only=False, destructive=True, idempotent=True),
        ToolSpec(list_jobs, "List jobs", read_only=True, destructive=False, idempotent=True),
        ToolSpec(read_output, "Read a job's output", read_only=True, destructive=False, idempotent=True),
    ]


def _summary(job: JobView) -> JobSummary:
    known = {name: value for name, value in asdict(job).items() if name in JobSummary.model_fields}
    return JobSummary(**known | {"error": job.error and job.error[:MAX_ERROR]})
