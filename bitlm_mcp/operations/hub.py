"""push_checkpoint and pull_checkpoint: checkpoints to a hub of models, and from it.

push   a transfer
pull   a transfer ─→ what came is loaded once, on the compute side, and forgotten ─→ only what has loaded becomes a checkpoint
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from typing import Any

from bitlm_core import CheckpointInfo, ResourceLimitError, check_fetch, check_push
from bitlm_mcp.compute import answers, commands, hub_messages
from bitlm_mcp.compute.messages import ModelRef
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.compute.transfers import keep_pulled
from bitlm_mcp.jobs import Job
from bitlm_mcp.workspace import Workspace, checkpoint_view

MAX_TRANSFERS = 4
"""At a time; each has a thread."""


def push(
    workspace: Workspace, name: str, repo: str, *, parent_commit: str | None, private: bool, license_id: str | None
) -> Job:
    """Push a checkpoint, its SHA-256 checked, to a repository."""
    check_push(repo, parent_commit, license_id)
    workspace.checkpoints.info(name)
    command = hub_messages.Push(checkpoint=name, repo=repo, parent_commit=parent_commit, private=private, license_id=license_id)
    job = Job("push_checkpoint", "", Urgency.READ, command, recorded=True)
    job.on_completed = lambda answer: {"name": name, **answer.model_dump(exclude={"answer"})}
    return _submitted(workspace, job)


def pull(workspace: Workspace, repo: str, name: str, *, revision: str | None, overwrite: bool) -> Job:
    """Make the checkpoint in a repository one of the store."""
    check_fetch(repo, revision)
    workspace.checkpoints.check_free(name, overwrite)
    job = Job("pull_checkpoint", "", Urgency.READ, hub_messages.Fetch(repo=repo, revision=revision), recorded=True)
    came: list[hub_messages.Fetched] = []

    def check(answer: answers.Answer) -> commands.Load | None:
        if not isinstance(answer, hub_messages.Fetched):
            return None
        came.append(answer)
        ref = ModelRef(model_id=name, incarnation=0, state=answer.path)
        return commands.Load(model=ref, checkpoint=name, keep=False)

    def publish(answer: answers.Loaded) -> dict[str, Any]:
        fetched = came[0]

        def guard(info: CheckpointInfo) -> AbstractContextManager[object]:
            return workspace.records.indexing("checkpoints", name, asdict(checkpoint_view(info)))

        info = keep_pulled(workspace.checkpoints, name, fetched, answer.facts, overwrite, guard)
        workspace.show()
        return {"name": name, "step": info.step} | fetched.model_dump(include={"repo", "commit", "num_bytes", "sha256"})

    def tidy() -> None:
        for fetched in came:
            with suppress(OSError):
                fetched.path.unlink()

    job.follow, job.on_completed, job.on_over = check, publish, tidy
    return _submitted(workspace, job)


def _submitted(workspace: Workspace, job: Job) -> Job:
    workspace.runner.transfers.check(token=isinstance(job.command, hub_messages.Push))
    going = [each for each in workspace.runner.unfinished() if isinstance(each.command, hub_messages.Transfer)]
    if len(going) >= MAX_TRANSFERS:
        raise ResourceLimitError(
            f"{len(going)} transfers are going on already, the limit: wait for one of them (wait_job), or cancel_job",
            estimate=len(going) + 1,
            limit=MAX_TRANSFERS,
        )
    workspace.records.add_job(job.view(), {}, workspace.presence.server_id)
    return workspace.runner.submit(job)
