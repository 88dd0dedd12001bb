"""inspect_patches: a job that cuts data into patches and tells what came of it."""

from __future__ import annotations

from bitlm_core import PatchingConfig
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.reading import submit_recorded
from bitlm_mcp.workspace import Workspace


def inspect_patches(
    workspace: Workspace, source: Source, patching: PatchingConfig | None, first: int, model_id: str | None = None
) -> Job:
    """Cut data, all of a dataset, as a model does or by entropies that are fitted to the data; the `first` patches are told
    one by one."""
    workspace.catch_up()
    ref, job_id = workspace.models.ref(model_id) if model_id else None, new_job_id()
    part = source.part(workspace, job_id, holdout=None)
    command = commands.InspectPatches(data=part, model=ref, patching=patching, first=first)
    job = Job("inspect_patches", model_id or "", Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = lambda answer: answer.model_dump(mode="json", exclude={"answer"}, exclude_none=True)
    return submit_recorded(workspace, job)
