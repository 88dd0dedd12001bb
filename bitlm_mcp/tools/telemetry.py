"""get_telemetry: how a model is doing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.parameters import ModelId
from bitlm_mcp.workspace import Workspace


class HistoryResult(Result):
    """One recorded training step; the names mean what they mean in TelemetryResult."""

    step: int
    loss: FiniteOrNone = None
    bits_per_byte: FiniteOrNone = None
    bits_per_byte_mixed: FiniteOrNone = None
    k: FiniteOrNone = None
    c: FiniteOrNone = None
    s: FiniteOrNone = None


class TelemetryResult(Result):
    """A model at one moment."""

    model_id: str
    state: str
    step: int
    loss: Annotated[FiniteOrNone, Field(description="Last training loss of the network, nats per byte.")] = None
    bits_per_byte: FiniteOrNone = None
    bits_per_byte_mixed: Annotated[FiniteOrNone, Field(description="With context mixing, on unseen bytes.")] = None
    k: FiniteOrNone = None
    c: FiniteOrNone = None
    s: FiniteOrNone = None
    grad_norm: FiniteOrNone = None
    job_id: str | None = None
    history: list[HistoryResult]
    alerts: list[str]
    version: int


def telemetry_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def get_telemetry(
        model_id: ModelId = "default",
        last: Annotated[int, Field(ge=0, le=500, description="How many recorded steps to return at most.")] = 20,
        since_step: Annotated[int | None, Field(ge=0, description="Only steps after this one; then the first ones.")] = None,
    ) -> TelemetryResult:
        """Read how a model is doing: loss, bits per byte, K, C, S, their history and drift alerts. Never waits."""
        return telemetry_result(workspace, model_id, last, since_step)

    return [ToolSpec(get_telemetry, "Read telemetry", read_only=True, destructive=False, idempotent=True)]


def telemetry_result(workspace: Workspace, model_id: str, last: int, since_step: int | None) -> TelemetryResult:
    """The telemetry of a model from the current snapshot; without `since_step` the last points, else the next ones."""
    view = workspace.model(model_id)
    if since_step is None:
        points = view.history[len(view.history) - min(last, len(view.history)) :]
    else:
        points = tuple(point for point in view.history if point.step > since_step)[:last]
    names = HistoryResult.model_fields
    summary = {name: value for name, value in view.summary().items() if name in TelemetryResult.model_fields}
    return TelemetryResult(
        **summary,
        history=[HistoryResult(**{k: v for k, v in asdict(point).items() if k in names}) for point in points],
        version=workspace.snapshot.version,
    )
