"""save_checkpoint, load_checkpoint: models that outlive the server."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import CheckpointView
from bitlm_mcp.tools.parameters import CheckpointName, ModelId, Overwrite
from bitlm_mcp.tools.waiting import answer
from bitlm_mcp.workspace import Workspace


class CheckpointResult(Result):
    """A checkpoint on disk."""

    name: str
    model_id: str
    step: int
    bytes: int
    sha256: str
    path: str
    version: int


def checkpoint_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""
    limit_s = workspace.settings.max_wait_s

    def result(view: CheckpointView, model_id: str) -> CheckpointResult:
        return CheckpointResult(
            name=view.name,
            model_id=model_id,
            step=view.step,
            bytes=view.num_bytes,
            sha256=view.sha256,
            path=str(workspace.checkpoints.root / view.name),
            version=workspace.snapshot.version,
        )

    async def save_checkpoint(
        ctx: Context[Any, Any], name: CheckpointName, model_id: ModelId = "default", overwrite: Overwrite = False
    ) -> CheckpointResult:
        """Save a model with its optimizer and context statistics, so that load_checkpoint continues it exactly.

        It may be called while the model trains: the state between two steps is saved.
        """
        return result(await answer(workspace.save(name, model_id, overwrite=overwrite), limit_s, ctx), model_id)

    async def load_checkpoint(
        ctx: Context[Any, Any], name: CheckpointName, model_id: ModelId = "default", overwrite: Overwrite = False
    ) -> CheckpointResult:
        """Bring a saved model back, after its SHA-256 was checked. With the same seed it answers as before."""
        return result(await answer(workspace.load(name, model_id, overwrite=overwrite), limit_s, ctx), model_id)

    return [
        ToolSpec(save_checkpoint, "Save a model", read_only=False, destructive=True, idempotent=True),
        ToolSpec(load_checkpoint, "Load a model", read_only=False, destructive=True, idempotent=True),
    ]
