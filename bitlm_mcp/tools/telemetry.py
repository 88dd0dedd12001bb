"""get_telemetry, show_training, set_telemetry: how a model is doing, and how it is watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import TelemetryConfig
from bitlm_mcp.operations import telemetry as operations
from bitlm_mcp.results import FiniteOrNone, Result, text_of
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import FED, HistoryPoint
from bitlm_mcp.tools.parameters import ModelId
from bitlm_mcp.tools.waiting import answer, off_loop
from bitlm_mcp.workspace import Workspace

_SETTABLE = {*TelemetryConfig.model_fields, *operations.FLOORS}
LEFT_OUT = ("transition_rate", "symbiosis_kl", "bytes_per_second", "memory_bytes", "patch_histogram")
"""What is left out of a short answer."""
SELDOM = ("transition_rate", "symbiosis_kl", "composite", "attention_entropy", "patch_mean", "patch_spread", *FED)
"""Whose history is left out of a short answer."""
MAX_ALERTS = 2
"""How many alerts a short answer tells, the latest."""
USUAL_STEPS, MAX_TEXT_BYTES = 20, 2048
"""Who asks for no more steps than these, or does not say, gets as many as fit into so much text."""

Column = list[FiniteOrNone]


class HistoryResult(Result):
    """Recorded training steps, in columns: the names are told once, and a column that was never measured is left out.

    The names mean what they mean in TelemetryResult; null is a step at which the value was not measured.
    """

    step: list[int]
    loss: Column | None = None
    bits_per_byte: Column | None = None
    bits_per_byte_mixed: Column | None = None
    bits_per_byte_held_out: Column | None = None
    k: Column | None = None
    c: Column | None = None
    s: Column | None = None
    transition_rate: Column | None = None
    symbiosis_kl: Column | None = None
    composite: Column | None = None
    attention_entropy: Column | None = None
    patch_mean: Column | None = None
    patch_spread: Column | None = None
    loss_raw: Column | None = None
    accuracy_raw: Column | None = None
    loss_compressed: Column | None = None
    accuracy_compressed: Column | None = None
    ratio_compressed: Column | None = None
    loss_direct: Column | None = None
    accuracy_direct: Column | None = None
    ratio_direct: Column | None = None
    codec_fallbacks: Column | None = None


class LeftOut(Result):
    """What there is beside this answer, and the call that has it: names of figures or of their history, numbers of alerts and
    of recorded steps, which are earlier ones, or where the call named since_step, later ones."""

    figures: list[str] | None = None
    alerts: int | None = None
    steps: int | None = None
    next: str


class TelemetryResult(Result):
    """A model at one moment; `mean_layers` (layers per position) and `halt_probs` (of each layer) where it halts; where it has
    patches, their sizes in bytes in the last batch that was measured: entry i of `patch_histogram` counts those of i + 1, the
    last of 32 longer ones too."""

    model_id: str
    state: str
    quantized: str | None = None
    step: int
    loss: Annotated[FiniteOrNone, Field(description="Last training loss of the network, nats per byte.")] = None
    bits_per_byte: FiniteOrNone = None
    bits_per_byte_mixed: Annotated[FiniteOrNone, Field(description="With context mixing, on unseen bytes.")] = None
    bits_per_byte_held_out: Annotated[FiniteOrNone, Field(description="The network alone, on the held-out part.")] = None
    k: FiniteOrNone = None
    c: FiniteOrNone = None
    s: FiniteOrNone = None
    transition_rate: FiniteOrNone = None
    symbiosis_kl: Annotated[FiniteOrNone, Field(description="Nats.")] = None
    composite: FiniteOrNone = None
    attention_entropy: Annotated[FiniteOrNone, Field(description="Nats.")] = None
    bytes_per_second: FiniteOrNone = None
    memory_bytes: int | None = None
    mean_layers: FiniteOrNone = None
    halt_probs: list[float] | None = None
    patch_mean: FiniteOrNone = None
    patch_spread: FiniteOrNone = None
    patch_histogram: list[int] | None = None
    loss_raw: FiniteOrNone = None
    accuracy_raw: FiniteOrNone = None
    loss_compressed: FiniteOrNone = None
    accuracy_compressed: FiniteOrNone = None
    ratio_compressed: FiniteOrNone = None
    loss_direct: Annotated[FiniteOrNone, Field(description="Nats per byte of stream.")] = None
    accuracy_direct: FiniteOrNone = None
    ratio_direct: FiniteOrNone = None
    codec_fallbacks: FiniteOrNone = None
    grad_norm: FiniteOrNone = None
    job_id: str | None = None
    history: HistoryResult
    alerts: list[str]
    left_out: LeftOut | None = None
    version: int


class SettingsResult(Result):
    """How a model is watched from now on; by the names of the arguments."""

    model_id: str
    settings: dict[str, Any]
    version: int


# Bounds are those of `TelemetryConfig` and `Floors`, which say what is wrong: repeated here, every host would read them.
Weight = Annotated[float | None, Field(description="Weight in the score.")]
Floor = Annotated[float | None, Field(description="The least allowed, 0-1.")]


def telemetry_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def get_telemetry(
        model_id: ModelId = "default",
        last: Annotated[int, Field(ge=0, le=500, description="Steps at most.")] = USUAL_STEPS,
        since_step: Annotated[int | None, Field(ge=0, description="Steps after this.")] = None,
        full: Annotated[bool, Field(description="All of it.")] = False,
    ) -> TelemetryResult:
        """Read a model's loss, bits per byte, K, C, S, their history and drift alerts."""
        if full or last > USUAL_STEPS:
            return telemetry_result(workspace, model_id, last, since_step, full=full)
        return short_telemetry(workspace, model_id, last, since_step)

    async def show_training(model_id: ModelId = "default") -> TelemetryResult:
        """Show the user a model's training, as a live page where the host can; you read what get_telemetry tells."""
        return short_telemetry(workspace, model_id)

    async def set_telemetry(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        lambda_k: Weight = None,
        lambda_c: Weight = None,
        lambda_s: Weight = None,
        floor_k: Floor = None,
        floor_c: Floor = None,
        floor_s: Floor = None,
        telemetry_every: Annotated[int | None, Field(description="Steps between looks.")] = None,
        attention_every: Annotated[int | None, Field(description="Same of attention; 0 off.")] = None,
        drift_window: Annotated[int | None, Field(description="Measurements compared.")] = None,
        drift_threshold: Annotated[float | None, Field(description="A larger move alerts.")] = None,
        halt_on_drift: Annotated[bool | None, Field(description="Alerts end a training.")] = None,
        profile: Annotated[Literal["standard", "legacy"] | None, Field(description="legacy: without LZ76.")] = None,
        composite_loss: Annotated[float | None, Field(description="Trained for the score too; 0 off.")] = None,
    ) -> SettingsResult:
        """Change how a model is watched; the rest stays."""
        given = {name: value for name, value in locals().items() if name in _SETTABLE and value is not None}
        job = await off_loop(operations.set_telemetry, workspace, model_id, given)
        await answer(workspace, job, ctx)
        view = workspace.model(model_id)
        return SettingsResult(model_id=model_id, settings=operations.settings(view.config), version=workspace.snapshot.version)

    return [
        ToolSpec(get_telemetry, "Read telemetry", read_only=True, destructive=False, idempotent=True),
        ToolSpec(show_training, "Show training", read_only=True, destructive=False, idempotent=True),
        ToolSpec(set_telemetry, "Set telemetry", read_only=False, destructive=False, idempotent=True),
    ]


def telemetry_result(
    workspace: Workspace, model_id: str, last: int, since_step: int | None, *, full: bool = False
) -> TelemetryResult:
    """The telemetry of a model from the current snapshot; without `since_step` the last points, else the next ones.

    full: with the figures and alerts that are otherwise left out, so that the answer is short.
    """
    view = workspace.model(model_id)
    found = [point for point in view.history if since_step is None or point.step > since_step]
    points = found[:last] if since_step is not None else found[max(0, len(found) - last) :]
    facts = {name: value for name, value in view.summary().items() if name in TelemetryResult.model_fields}
    columns, alerts = _columns(points), list(view.alerts)
    told: dict[str, Any] = {"steps": len(found) - len(points)}
    if not full:
        told["figures"] = [name for name in LEFT_OUT if facts.get(name) is not None]
        told["figures"] += [f"history.{name}" for name in SELDOM if name in columns and name not in LEFT_OUT]
        told["alerts"] = len(alerts[:-MAX_ALERTS])
        facts |= dict.fromkeys(LEFT_OUT)
        columns = {name: column for name, column in columns.items() if name not in SELDOM}
        alerts = alerts[-MAX_ALERTS:]
    after = points[-1].step if points and since_step is not None else since_step or 0
    return TelemetryResult(
        **facts | {"alerts": alerts},
        history=HistoryResult(**columns),
        left_out=_left_out(model_id, {name: value for name, value in told.items() if value}, after, full=full),
        version=workspace.snapshot.version,
    )


def short_telemetry(
    workspace: Workspace, model_id: str, last: int = USUAL_STEPS, since_step: int | None = None
) -> TelemetryResult:
    """As `telemetry_result` in short, with as many of the `last` points as fit into a short text."""
    found = telemetry_result(workspace, model_id, last, since_step)
    while last > 0 and len(text_of(found).encode()) > MAX_TEXT_BYTES:
        last = max(0, last - 2)
        found = telemetry_result(workspace, model_id, last, since_step)
    return found


def _columns(points: Sequence[HistoryPoint]) -> dict[str, list[Any]]:
    """The history in columns, but for those that were measured nowhere."""
    columns = {name: [getattr(point, name) for point in points] for name in HistoryResult.model_fields}
    return {name: column for name, column in columns.items() if name == "step" or any(value is not None for value in column)}


def _left_out(model_id: str, told: dict[str, Any], after: int, *, full: bool) -> LeftOut | None:
    """What is left out, and the one call that has all of it, or its next page: the steps after `after`."""
    if not told:
        return None
    arguments = [f"model_id={model_id!r}"]
    arguments += ["full=true"] if full or told.keys() & {"figures", "alerts"} else []
    arguments += [f"since_step={after}"] if "steps" in told else []
    return LeftOut(**told, next=f"get_telemetry({', '.join(arguments)})")
