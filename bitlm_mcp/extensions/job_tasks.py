"""What any server knows of tasks: every recorded job is one, of the same id; others are as their servers recorded them."""

from __future__ import annotations

import time
from typing import Any

from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.extensions.kept_tasks import KeptTasks
from bitlm_mcp.extensions.tasks import DurableTasks, TaskPolicy, durable_wire
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.tools.job_results import job_call_result
from bitlm_mcp.workspace import Workspace

_READING = ("score", "infer_long", "compress", "decompress", "repair", "inspect_patches", "show_surprise")
_HUB = ("push_checkpoint", "pull_checkpoint")
_JOBS = ("train_step", "scale_model", "distill_model", "quantize_model", "calibrate_floors", *_READING, *_HUB)
POLICIES = {
    **dict.fromkeys(_JOBS, TaskPolicy(quick_s=2.0, makes_job=True)),
    **dict.fromkeys(
        ("infer", "diffusion_sample", "init_model", "save_checkpoint", "load_checkpoint"), TaskPolicy(quick_s=10.0)
    ),
}
"""Which tools may become tasks: those that can take longer than a host waits."""


def job_tasks(workspace: Workspace) -> DurableTasks:
    """The jobs of a workspace, and what servers have recorded of other tasks, as the extension wants them."""

    kept = KeptTasks(workspace.database, workspace.presence.server_id)

    def wire(job_id: str) -> dict[str, Any] | None:
        try:
            view = workspace.job(job_id)
        except UnknownHandleError:
            return kept.find(job_id)
        # A tool that failed has completed, with an error as its result; `failed` is for faults of the protocol.
        ends = {"completed": "completed", "failed": "completed", "interrupted": "completed", "cancelled": "cancelled"}
        status = ends.get(view.status, "working")
        message = None if view.over else f"{view.kind}: {view.progress:.0%}"
        found = durable_wire(job_id, status, created=view.created, changed=view.finished or time.time(), message=message)
        if status == "completed":
            result = job_call_result(workspace, view).model_dump(mode="json", by_alias=True, exclude_none=True)
            found["result"] = result | {"resultType": "complete"}
        return found

    def stop(job_id: str) -> None:
        try:
            cancel(workspace, job_id)
        except UnknownHandleError:
            kept.ask_to_stop(job_id)

    return DurableTasks(wire, stop, kept.keep, kept.asked_to_stop)
