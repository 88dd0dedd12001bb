"""save_checkpoint, load_checkpoint: models that outlive the server."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations.models import load, save
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.parameters import CheckpointName, ModelId, NewModelId, Overwrite, SavedName
from bitlm_mcp.tools.waiting import answer, off_loop
from bitlm_mcp.workspace import Workspace


class CheckpointResult(Result):
    """A checkpoint on disk."""

    name: str
    model_id: str
    step: int
    bytes: int
    sha256: str
    pinned: bool
    path: str
    version: int


def checkpoint_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    def result(name: str, model_id: str) -> CheckpointResult:
        view = workspace.snapshot.checkpoints[name]
        return CheckpointResult(
            name=name,
            model_id=model_id,
            step=view.step,
            bytes=view.num_bytes,
            sha256=view.sha256,
            pinned=view.pinned,
            path=str(workspace.checkpoints.root / name),
            version=workspace.snapshot.version,
        )

    async def save_checkpoint(
        ctx: Context[Any, Any],
        name: CheckpointName,
        model_id: ModelId = "default",
        overwrite: Overwrite = False,
        pinned: Annotated[bool, Field(description="Never removed to make room.")] = False,
    ) -> CheckpointResult:
        """Save a model with all it has learned, so that load_checkpoint continues it exactly; while it trains, too."""
        job = await off_loop(save, workspace, name, model_id, overwrite=overwrite, pinned=pinned)
        await answer(workspace, job, ctx)
        return result(name, model_id)

    async def load_checkpoint(
        ctx: Context[Any, Any], name: SavedName, model_id: NewModelId = "default", overwrite: Overwrite = False
    ) -> CheckpointResult:
        """Bring a saved model back, its SHA-256 checked; with the same seed it answers as before."""
        await answer(workspace, await off_loop(load, workspace, name, model_id, overwrite=overwrite), ctx)
        return result(name, model_id)

    return [
        ToolSpec(save_checkpoint, "Save a model", read_only=False, destructive=True, idempotent=True),
        ToolSpec(load_checkpoint, "Load a model", read_only=False, destructive=True, idempotent=True),
    ]
