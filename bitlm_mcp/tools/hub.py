"""push_checkpoint, pull_checkpoint: checkpoints that leave this machine, and come to it. Offered when asked for."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations import hub as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.hub_results import HubResult
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import CheckpointName, Overwrite, SavedName, WaitSeconds
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace

Repo = Annotated[str, Field(max_length=129, description="As OWNER/NAME.")]


def hub_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def push_checkpoint(
        ctx: Context[Any, Any],
        name: SavedName,
        repo: Repo,
        parent_commit: Annotated[
            str | None, Field(max_length=40, description="The commit that this one must follow; null: the latest.")
        ] = None,
        private: Annotated[bool, Field(description="Refuse to show it to everybody.")] = True,
        license: Annotated[str | None, Field(max_length=64, description="For the model card, like apache-2.0.")] = None,
        wait_s: WaitSeconds = 20,
    ) -> HubResult:
        """Push a saved checkpoint, with a model card of what was measured, as one commit to a repository on the model hub.

        The repository is made if need be. The token is the server's own (HF_TOKEN).
        """
        how: dict[str, Any] = {"parent_commit": parent_commit, "private": private, "license_id": license}
        job = await off_loop(operations.push, workspace, name, repo, **how)
        return _result(await finished(workspace, job.job_id, wait_s, ctx))

    async def pull_checkpoint(
        ctx: Context[Any, Any],
        repo: Repo,
        name: CheckpointName,
        revision: Annotated[str | None, Field(max_length=200, description="Branch, tag or commit; null: the latest.")] = None,
        overwrite: Overwrite = False,
        wait_s: WaitSeconds = 20,
    ) -> HubResult:
        """Pull what push_checkpoint has pushed, check it, and store it as a checkpoint for load_checkpoint.

        What is damaged, or of another program, is refused, and nothing is stored then.
        """
        job = await off_loop(operations.pull, workspace, repo, name, revision=revision, overwrite=overwrite)
        return _result(await finished(workspace, job.job_id, wait_s, ctx))

    return [
        ToolSpec(push_checkpoint, "Push to a hub", read_only=False, destructive=True, idempotent=True, open_world=True),
        ToolSpec(pull_checkpoint, "Pull from a hub", read_only=False, destructive=True, idempotent=True, open_world=True),
    ]


def _result(view: JobView) -> HubResult:
    return HubResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})
