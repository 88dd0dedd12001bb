"""How a job looks in a tool's result."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from mcp_types import CallToolResult, TextContent
from pydantic import Field

from bitlm_mcp.results import FiniteOrNone, both_channels
from bitlm_mcp.snapshot import JobView, Status
from bitlm_mcp.tools.coding_results import CompressedInput
from bitlm_mcp.tools.distill_results import DistillResult
from bitlm_mcp.tools.gate_results import CalibrateResult
from bitlm_mcp.tools.growth_results import ScaleResult
from bitlm_mcp.tools.hub_results import HubResult
from bitlm_mcp.tools.inference_results import (
    CompressResult,
    DecompressResult,
    InferLongResult,
    PatchesResult,
    RepairResult,
    ScoreResult,
    SurpriseResult,
)
from bitlm_mcp.tools.quantize_results import QuantizeResult
from bitlm_mcp.workspace import Workspace

ALL_READ = "all of the data was read, each byte once: more steps on it would learn nothing, other data would"
DRIFTED = (
    "a metric drifted, and halt_on_drift is set: the training ended at that step and was saved. Look at get_telemetry; "
    "train_step goes on from there; the page, or set_telemetry (offered with --toolsets all), changes what counts as drift"
)
_Read = ScoreResult | InferLongResult | CompressResult | DecompressResult | RepairResult | PatchesResult | SurpriseResult
_Shape = CalibrateResult | ScaleResult | DistillResult | QuantizeResult | HubResult | _Read
MAX_GROWTHS = 5
"""How many changes of a network that grows an answer tells."""
_SHAPES: dict[str, type[_Shape]] = {
    "calibrate_floors": CalibrateResult,
    "distill_model": DistillResult,
    "score": ScoreResult,
    "infer_long": InferLongResult,
    "compress": CompressResult,
    "decompress": DecompressResult,
    "repair": RepairResult,
    "inspect_patches": PatchesResult,
    "show_surprise": SurpriseResult,
    "scale_model": ScaleResult,
    "quantize_model": QuantizeResult,
    "push_checkpoint": HubResult,
    "pull_checkpoint": HubResult,
}


class JobResult(CompressedInput):
    """A job, with what a training has reached so far. Without a network every figure is context mixing's."""

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
    bits_per_byte_held_out: Annotated[FiniteOrNone, Field(description="Of the network, on the held-out part.")] = None
    feed: Annotated[dict[str, float] | None, Field(description="Windows shown raw, compressed, direct.")] = None
    stopped_early: Annotated[bool | None, Field(description="True where patience ended it.")] = None
    bytes_per_second: FiniteOrNone = None
    eta_s: FiniteOrNone = None
    growths: Annotated[list[str] | None, Field(description="Of a progressive training: what happened, the latest.")] = None
    note: str | None = None
    saved_step: Annotated[int | None, Field(description="Step of the model that is safe on the disk.")] = None
    result: dict[str, Any] | None = None
    error: str | None = None
    version: int
    next: str | None = None


def job_result(workspace: Workspace, view: JobView) -> JobResult:
    """The job as it stands; what a training has reached is as of its own last step."""
    names = JobResult.model_fields
    known = {name: value for name, value in asdict(view).items() if name in names}
    if view.kind != "train_step":
        del known["steps_done"]
    known["stopped_early"] = view.stopped_early or None
    known["growths"] = list(view.growths[-MAX_GROWTHS:]) or None
    known["note"] = ALL_READ if view.all_read else DRIFTED if view.drifted else None
    return JobResult(**known, version=workspace.snapshot.version, next=next_call(view))


def job_call_result(workspace: Workspace, view: JobView) -> CallToolResult:
    """What the call that made a job would have returned, had it waited until the job was over."""
    if view.status != "completed":
        return CallToolResult(
            content=[TextContent(type="text", text=view.error or f"{view.kind} was {view.status}")], is_error=True
        )
    if view.kind == "train_step":
        return both_channels(job_result(workspace, view))
    return both_channels(_SHAPES[view.kind](job_id=view.job_id, status=view.status, **view.result or {}))


def next_call(view: JobView) -> str | None:
    """The call that usually follows."""
    if not view.over:
        return f"wait_job(job_id={view.job_id!r})"
    if view.kind == "pull_checkpoint" and view.result:
        return f"load_checkpoint(name={view.result['name']!r})"
    if view.kind not in ("train_step", "distill_model"):
        return None
    if view.status == "completed":
        return f"score(model_id={view.model_id!r}, dataset_id=…) or infer(model_id={view.model_id!r}, prompt=…)"
    resumable = view.kind == "train_step" and view.status in ("interrupted", "cancelled")
    return f"train_step(resume_job={view.job_id!r})" if resumable else None
