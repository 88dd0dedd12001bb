"""repair: a job whose output is what it proposes, and on demand a new dataset with that in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bitlm_core import ConfigError
from bitlm_mcp.compute import answers, commands, messages
from bitlm_mcp.compute.repair import MAX_BYTES, check_one_stream
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.reading import submit_recorded
from bitlm_mcp.workspace import Workspace

FIRST_PROPOSALS = 16
"""So many stand in a result."""


def repair(
    workspace: Workspace, model_id: str | None, source: Source, places: messages.DamagedPlaces, save_as: str | None
) -> Job:
    """Propose what damaged bytes were; `save_as`: the restored data as a new dataset, nothing of it held back.

    Documents are restored apart, and stay apart. Raises ConfigError for too much data, for parity in several documents, and
    for a dataset that there is.
    """
    workspace.catch_up()
    if save_as is not None and save_as in workspace.datasets.ids():
        raise ConfigError(f"dataset {save_as!r} exists already, and repairing overwrites nothing: choose another name")
    ref = workspace.models.ref(model_id) if model_id is not None else None
    job_id = new_job_id()
    part = source.part(workspace, job_id, holdout=None)
    if part.num_bytes > MAX_BYTES:
        raise ConfigError(
            f"{part.num_bytes:,} bytes are more than the {MAX_BYTES:,} that are repaired at once: cut the data into several"
        )
    check_one_stream(places, 1 + len(part.document_starts))
    output = workspace.job_files.output(job_id)
    restored = output.with_name("restored") if save_as is not None else None
    command = commands.Repair(model=ref, data=part, places=places, first=FIRST_PROPOSALS, output=output, restored=restored)

    def completed(answer: answers.RepairOutcome) -> dict[str, Any]:
        found = answer.model_dump(exclude={"answer"}) | {"proposals": [vars(row) for row in answer.proposals]}
        if save_as is None or restored is None:
            return found
        documents = _cut(restored.read_bytes(), part.document_starts)
        add_dataset(workspace, save_as, documents, source=f"restored by {job_id}", holdout_fraction=0.0, overwrite=False)
        restored.unlink()
        return found | {"dataset_id": save_as}

    job = Job("repair", model_id or "", Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = completed
    return submit_recorded(workspace, job)


def _cut(data: bytes, starts: Sequence[int]) -> list[list[bytes]]:
    """The documents, each in one piece; `starts`: where the second and later ones begin."""
    return [[data[begin:end]] for begin, end in pairwise((0, *starts, len(data)))]
