"""scale_model: a model that has become too small goes on as a larger one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations import growth as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.growth_results import ScaleResult
from bitlm_mcp.tools.parameters import ModelId, Seed, WaitSeconds
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace


def growth_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def scale_model(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        strategy: Annotated[
            Literal["layer", "width", "context", "auto", "undo"],
            Field(description="What grows; auto: the next of the three; undo: as before the last growth."),
        ] = "auto",
        seed: Seed = 0,
        wait_s: WaitSeconds = 20,
    ) -> ScaleResult:
        """Let a model grow without forgetting: a layer more, twice the width or twice the window; its answers stay the same.

        The state before is kept as checkpoint MODEL.before. undo brings it back, without what was learned since.
        """
        if strategy == "undo":
            job = await off_loop(operations.undo, workspace, model_id)
        else:
            step = None if strategy == "auto" else strategy
            job = await off_loop(operations.grow, workspace, model_id, step, seed)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return ScaleResult(job_id=view.job_id, status=view.status, next=_after(view), **view.result or {})

    return [ToolSpec(scale_model, "Grow a model", read_only=False, destructive=True, idempotent=False)]


def _after(view: JobView) -> str | None:
    return f"train_step(model_id={view.model_id!r}, dataset_id=…)" if view.over else f"wait_job(job_id={view.job_id!r})"
