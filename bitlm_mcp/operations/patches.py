"""inspect_patches: a job that cuts data into patches and tells what came of it."""

from __future__ import annotations

from bitlm_core import PatchingConfig
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.reading import submit_recorded
from bitlm_mcp.workspace import Workspace


def inspect_patches(workspace: Workspace, source: Source, patching: PatchingConfig, first: int) -> Job:
    """Cut data, all of a dataset, by an entropy model that is fitted to it; the `first` patches are told one by one."""
    workspace.catch_up()
    job_id = new_job_id()
    command = commands.InspectPatches(data=source.part(workspace, job_id, holdout=None), patching=patching, first=first)
    job = Job("inspect_patches", "", Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = lambda answer: answer.model_dump(mode="json", exclude={"answer"}, exclude_none=True)
    return submit_recorded(workspace, job)
