"""What the gate withholds, who decides on it, and how the gate is calibrated.

    infer(safety="strict") ─→ failed ─→ held ─→ the client's user is asked, where the client can do that
                                           └─→ else `pending`, until approve_sample is called

Who may call infer may also call it with safety="warn": this keeps an agent from using an output unawares, and puts a person
into the loop where a host asks before it calls approve_sample. It does not lock anything away from a caller.
"""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import BaseModel, Field

from bitlm_core import SafetyGateError
from bitlm_mcp.call_gate import client_of
from bitlm_mcp.compute.answers import FillingOutcome, GenerationOutcome
from bitlm_mcp.operations import safety as operations
from bitlm_mcp.results import NeedsAnswer, Result
from bitlm_mcp.safety import WITHHELD_S, Sample
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.gate_results import CalibrateResult, DiscardedResult, PendingResult, verdict_facts
from bitlm_mcp.tools.inference_results import infer_result, text_or_none
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import DatasetId, ModelId, WaitSeconds
from bitlm_mcp.tools.waiting import finished, in_task, off_loop
from bitlm_mcp.workspace import Workspace

KEY = "release"
ASKS_IN_RESULTS = "2026-07-28"
"""Since this version of the protocol a server asks by returning the question, before it by a request of its own."""
SHOWN_CHARACTERS = 300


class Decision(BaseModel):
    """What a person is asked for."""

    release: Annotated[bool, Field(description="Hand the output over in spite of this")]


async def hand_over(
    workspace: Workspace,
    ctx: Context[Any, Any],
    model_id: str,
    found: GenerationOutcome,
    *,
    strict: bool,
    note: str | None = None,
) -> Result:
    """The output as a result; in strict mode one that failed, or of a session that did, is withheld until it is decided on.

    note: what is to be known of the output that is handed over.

    Raises SafetyGateError for such an output where nobody could ever decide on it.
    """
    if not found.attempts:
        return infer_result(found, note=note)
    gate = workspace.sessions.observe(client_of(ctx.request_context)[0], model_id, found)
    reasons = (*(found.verdict.reasons if found.verdict else ()), *gate.reasons)
    if reasons:
        workspace.gate_marks.note(model_id, found.step, "an output was withheld" if strict else "an output failed", reasons)
    if not strict or not reasons:
        return infer_result(found, gate, note=note)
    sample = Sample(model_id=model_id, found=found, gate=gate, reasons=reasons)
    if _can_ask(ctx):
        await off_loop(workspace.withheld.hold, sample)
        return await _asked(workspace, ctx, sample)
    return await _pending(workspace, sample)


def mark_failed(workspace: Workspace, model_id: str, found: FillingOutcome) -> None:
    """Show on the model's curve that the gate failed what was drawn; it is handed over all the same."""
    if found.verdict and found.verdict.reasons:
        workspace.gate_marks.note(model_id, found.step, "an output failed", found.verdict.reasons)


async def answered(workspace: Workspace, ctx: Context[Any, Any]) -> Result | None:
    """What comes of a call that brings the answer to a question; None for a call of its own."""
    if ctx.request_state is None:
        return None
    response = (ctx.input_responses or {}).get(KEY)
    sample = await off_loop(workspace.withheld.take, ctx.request_state)
    if not isinstance(response, ElicitResult) or response.action == "cancel":
        return await _pending(workspace, sample)
    release = response.action == "accept" and (response.content or {}).get(KEY) is True
    return _released(workspace, sample) if release else DiscardedResult(sample_id=sample.sample_id)


async def _asked(workspace: Workspace, ctx: Context[Any, Any], sample: Sample) -> Result:
    """What the client's user decides; pending where there is no decision in time."""
    if (ctx.protocol_version or "") >= ASKS_IN_RESULTS:
        form = ElicitRequestFormParams(message=_question(sample), requested_schema=Decision.model_json_schema())
        asked = InputRequiredResult(input_requests={KEY: ElicitRequest(params=form)}, request_state=sample.sample_id)
        return NeedsAnswer(asked=asked)
    with anyio.move_on_after(workspace.settings.max_wait_s):
        try:
            answer = await ctx.elicit(_question(sample), Decision)
        except (MCPError, ValueError):  # a client that cannot do what it has declared, or answers something else
            return await _pending(workspace, await off_loop(workspace.withheld.take, sample.sample_id))
        if answer.action != "cancel":
            await off_loop(workspace.withheld.take, sample.sample_id)
            release = answer.action == "accept" and answer.data.release
            return _released(workspace, sample) if release else DiscardedResult(sample_id=sample.sample_id)
    return await _pending(workspace, await off_loop(workspace.withheld.take, sample.sample_id))


def _can_ask(ctx: Context[Any, Any]) -> bool:
    """Whether the client has declared that it can show its user a form. A task has no request to ask in."""
    elicitation = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    return in_task.get() is None and elicitation is not None and (elicitation.form is not None or elicitation.url is None)


async def _pending(workspace: Workspace, sample: Sample) -> PendingResult:
    settings = workspace.settings
    chosen = not {"all", "inference"}.isdisjoint(settings.toolsets) or "approve_sample" in settings.tools
    if settings.read_only or ((settings.toolsets or settings.tools) and not chosen):
        raise SafetyGateError(f"the output was withheld: {'; '.join(sample.reasons)}. Or call with safety='warn' to see it")
    await off_loop(workspace.withheld.hold, sample)
    return PendingResult(
        sample_id=sample.sample_id,
        reasons=list(sample.reasons),
        expires_s=WITHHELD_S,
        model_step=sample.found.step,
        next=f"ask the user, then approve_sample(sample_id={sample.sample_id!r}, approve=…)",
        **verdict_facts(sample.found, sample.gate),
    )


def _released(workspace: Workspace, sample: Sample) -> Result:
    workspace.gate_marks.note(sample.model_id, sample.found.step, "an output was released", sample.reasons)
    return infer_result(sample.found, sample.gate, approved=True)


def _question(sample: Sample) -> str:
    data = sample.found.data
    shown = (text_or_none(data) or data.hex())[:SHOWN_CHARACTERS]
    return (
        f"{len(data)} bytes generated by model {sample.model_id!r} were withheld: {'; '.join(sample.reasons)}. "
        f"They begin: {shown!r}. Hand them over?"
    )


def safety_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def approve_sample(
        sample_id: Annotated[str, Field(max_length=64, description="As infer returned it.")],
        approve: Annotated[bool, Field(description="false: it is discarded.")],
    ) -> Result:
        """Release or discard an output that safety='strict' withheld. Ask the user first."""
        sample = await off_loop(workspace.withheld.take, sample_id)
        return _released(workspace, sample) if approve else DiscardedResult(sample_id=sample_id)

    async def calibrate_floors(
        ctx: Context[Any, Any],
        dataset_id: DatasetId,
        model_id: ModelId = "default",
        quantile: Annotated[float, Field(ge=0.001, le=0.2, description="Healthy ones that may fail.")] = 0.01,
        wait_s: WaitSeconds = 20,
    ) -> CalibrateResult:
        """Fit a model's safety floors to its healthy outputs and a dataset's held-out part."""
        job = await off_loop(operations.calibrate_floors, workspace, model_id, dataset_id, quantile)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return CalibrateResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})

    return [
        ToolSpec(approve_sample, "Decide on an output", read_only=False, destructive=True, idempotent=False),
        ToolSpec(calibrate_floors, "Calibrate the gate", read_only=False, destructive=False, idempotent=True),
    ]
