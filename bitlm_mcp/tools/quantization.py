"""quantize_model: a network in a quarter or less of its bytes."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations import quantization as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.parameters import ID_PATTERN, ModelId, OptionalDatasetId, Overwrite, WaitSeconds
from bitlm_mcp.tools.quantize_results import QuantizeResult
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace


def quantization_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def quantize_model(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        mode: Annotated[operations.Mode, Field(description="float32 makes a quantised one trainable again.")] = "int8",
        qat_steps: Annotated[int, Field(ge=0, le=1_000_000, description="Steps of learning with rounded weights.")] = 0,
        dataset_id: OptionalDatasetId = None,
        to: Annotated[str | None, Field(pattern=ID_PATTERN, description="Name of the new model, else in place.")] = None,
        overwrite: Overwrite = False,
        wait_s: WaitSeconds = 20,
    ) -> QuantizeResult:
        """Quantise a model's network: int8 is a quarter of its size and decodes faster, int4 an eighth.

        qat_steps on a dataset's training part regain what rounding costs. In place, the state before is kept as a checkpoint.
        Quantised models do not learn: mode=float32 makes one that does.
        """
        asked: dict[str, Any] = {"qat_steps": qat_steps, "dataset_id": dataset_id, "to": to, "overwrite": overwrite}
        job = await off_loop(operations.quantize_model, workspace, model_id, mode, **asked)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return QuantizeResult(job_id=view.job_id, status=view.status, next=_after(view), **view.result or {})

    return [ToolSpec(quantize_model, "Quantise", read_only=False, destructive=True, idempotent=False)]


def _after(view: JobView) -> str | None:
    return f"score(model_id={view.model_id!r}, dataset_id=…)" if view.over else f"wait_job(job_id={view.job_id!r})"
