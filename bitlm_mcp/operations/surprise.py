"""show_surprise: a job that scores an excerpt of data and tells what each byte of it costs."""

from __future__ import annotations

import base64
from typing import Any

from bitlm_core import ConfigError
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.levels import SurpriseOutcome
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.reading import submit_recorded
from bitlm_mcp.workspace import Workspace


def show_surprise(
    workspace: Workspace,
    model_id: str,
    source: Source,
    *,
    offset: int,
    num_bytes: int,
    cells: int,
    shown_at: int | None,
    shown: int,
) -> Job:
    """Look at bytes [offset, offset + num_bytes) of data: of a dataset its held-out part, where it has one, else all of it.

    shown_at: the first byte that is told by itself, None for the first of all. Raises ConfigError where there is no such byte.
    """
    workspace.catch_up()
    ref, job_id = workspace.models.ref(model_id), new_job_id()
    view = workspace.snapshot.datasets.get(source.dataset_id or "")
    held_out = view is not None and view.holdout_bytes > 0
    part = source.part(workspace, job_id, holdout=held_out or None)
    try:
        first = _within(part.num_bytes, offset, num_bytes, shown_at)
    except ConfigError:
        workspace.job_files.forget([job_id])
        raise
    command = commands.ShowSurprise(
        model=ref, data=part, offset=offset, num_bytes=num_bytes, cells=cells, shown_at=first, shown=shown
    )
    looked_at = "held out" if held_out else "all of it"
    told = f"dataset {source.dataset_id}, {looked_at}" if source.dataset_id else "sent with the call"
    job = Job("show_surprise", model_id, Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = lambda answer: _result(answer, model_id, told)
    return submit_recorded(workspace, job)


def _within(total: int, offset: int, num_bytes: int, shown_at: int | None) -> int:
    """The first byte that is shown."""
    if offset >= total:
        raise ConfigError(f"offset={offset:,} is past the end of the data, which has {total:,} bytes: begin earlier")
    first, end = offset if shown_at is None else shown_at, min(offset + num_bytes, total)
    if not offset <= first < end:
        raise ConfigError(
            f"shown_at={first:,} is none of the bytes looked at, {offset:,} to {end - 1:,}: choose one, or leave it out"
        )
    return first


def _result(answer: SurpriseOutcome, model_id: str, source: str) -> dict[str, Any]:
    found = answer.model_dump(exclude={"answer", "peaks", "means", "data", "surprise"}, exclude_none=True)
    coded = {
        f"{name}_base64": base64.b64encode(getattr(answer, name)).decode() for name in ("peaks", "means", "data", "surprise")
    }
    return {"model_id": model_id, "source": source} | found | coded
