"""What reads a model: score, infer, infer_long, diffusion_sample. And stopping any job."""

from __future__ import annotations

import base64
from typing import Any, Literal

from bitlm_core import CodecName, ConfigError, DiffusionSampling, SamplingConfig, Template, check_records
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.coded_outputs import output_facts
from bitlm_mcp.operations.data import Source
from bitlm_mcp.workspace import Workspace


def score(
    workspace: Workspace, model_id: str, source: Source, *, records: str | None = None, adaptive: bool = False, top: int = 5
) -> Job:
    """Bits per byte of data, its oddest records and its most surprising places."""
    if records is not None:
        check_records(records)
    workspace.catch_up()
    ref, job_id = workspace.models.ref(model_id), new_job_id()
    part = source.part(workspace, job_id, holdout=True)
    command = commands.Score(model=ref, data=part, records=records, adaptive=adaptive, top=top)
    job = Job("score", model_id, Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = lambda answer: answer.model_dump(mode="json", exclude={"answer"})
    return submit_recorded(workspace, job)


def infer_long(
    workspace: Workspace,
    model_id: str,
    source: Source,
    *,
    ctx_bits: int,
    overlap: int,
    carry: bool,
    first_bytes: int,
    first_windows: int,
    compress_output: CodecName | None = None,
) -> Job:
    """Predict along data; all predicted bits become the job's output, the first ones stand in its result."""
    workspace.catch_up()
    ref, job_id = workspace.models.ref(model_id), new_job_id()
    command = commands.InferLong(
        model=ref,
        data=source.part(workspace, job_id, holdout=True),
        ctx_bits=ctx_bits,
        overlap=overlap,
        carry=carry,
        first_bytes=first_bytes,
        first_windows=first_windows,
        output=workspace.job_files.output(job_id),
        compress_output=compress_output,
    )
    job = Job("infer_long", model_id, Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = lambda answer: _long_result(answer, ctx_bits, first_bytes)
    return submit_recorded(workspace, job)


def _long_result(answer: answers.LongOutcome, ctx_bits: int, first_bytes: int) -> dict[str, Any]:
    found = answer.model_dump(exclude={"answer", "first_bits", "coded"})
    found["predicted_bits_base64"] = base64.b64encode(answer.first_bits).decode()
    found["returned_bits"] = min(answer.num_bits, 9 * first_bytes)
    # The composite follows from the others, and answers are to be short.
    found["windows"] = [{name: value for name, value in each.items() if name != "composite"} for each in found["windows"]]
    warning = None
    if answer.ctx_bits < ctx_bits - 8:
        warning = (
            f"ctx_bits={ctx_bits} is more than the model's window: {answer.ctx_bits} was used, "
            f"with an overlap of {answer.overlap}"
        )
    return found | output_facts(answer.coded, "predicted_bits_base64", warning)


def infer(
    workspace: Workspace,
    model_id: str,
    prompt: bytes,
    max_new_bytes: int,
    sampling: SamplingConfig,
    safety: Literal["off", "warn", "strict"],
    attempts: int = 1,
    compress_output: CodecName | None = None,
) -> Job:
    """Continue a prompt, in up to so many attempts until the gate lets the output pass. ConfigError for more with no gate."""
    if attempts > 1 and safety == "off":
        raise ConfigError(f"attempts={attempts} needs a gate that can fail an output: pass safety='warn' or 'strict' too")
    command = commands.Infer(
        model=workspace.models.ref(model_id),
        prompt=prompt,
        max_new_bytes=max_new_bytes,
        sampling=sampling,
        safety=safety,
        attempts=attempts,
        compress_output=compress_output,
    )
    return workspace.runner.submit(Job("infer", model_id, Urgency.ANSWER, command, note=saved_state_note(workspace, model_id)))


def diffusion_sample(
    workspace: Workspace,
    model_id: str,
    template: Template,
    sampling: DiffusionSampling,
    compress_output: CodecName | None = None,
    *,
    traced: bool = False,
) -> Job:
    """Fill the gaps of a template."""
    command = commands.DiffusionSample(
        model=workspace.models.ref(model_id),
        **vars(template),
        sampling=sampling,
        traced=traced,
        compress_output=compress_output,
    )
    note = saved_state_note(workspace, model_id)
    return workspace.runner.submit(Job("diffusion_sample", model_id, Urgency.ANSWER, command, note=note))


def cancel(workspace: Workspace, job_id: str) -> None:
    """Ask a job to stop at its next safe point, whichever server runs it."""
    view, own = workspace.job(job_id), workspace.runner.job(job_id)
    if own is not None and not own.over:
        workspace.runner.stop(job_id)
    elif not view.over:  # one that was this server's own before, too: another one goes on with it
        workspace.records.request_cancel(job_id)


def saved_state_note(workspace: Workspace, model_id: str) -> str | None:
    """What is to be said of an answer of a model that another server trains: that it is of the last saved state."""
    view, model = workspace.snapshot.models.get(model_id), workspace.models.find(model_id)
    if view is None or view.holder is None or model is None:
        return None
    return f"{view.holder} trains this model, at step {view.step} now: this is of its last saved state, step {model.facts.step}"


def submit_recorded(workspace: Workspace, job: Job) -> Job:
    """Submit a job whose id is told; when it has ended, nothing but its output stays of its files."""

    def tidy() -> None:
        workspace.job_files.drop_input(job.job_id)
        if job.status != "completed":
            workspace.job_files.forget([job.job_id])

    job.on_over, job.note, complete = tidy, saved_state_note(workspace, job.model_id), job.on_completed

    def completed(answer: Any) -> dict[str, Any] | None:
        result = complete(answer)
        return result | {"note": job.note} if result is not None and job.note else result

    job.on_completed = completed
    workspace.records.add_job(job.view(), {"model_id": job.model_id}, workspace.presence.server_id)
    return workspace.runner.submit(job)
