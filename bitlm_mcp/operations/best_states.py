"""The state of a training by which held-out data was known best: kept as a checkpoint beside the model, which trains on.

One per model, named after it, replaced by the next training that keeps one. A checkpoint of that name that somebody has saved,
or pinned, stays: then the next free number is added to the name.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from itertools import count
from typing import Any

from bitlm_core import CheckpointInfo
from bitlm_mcp.compute.answers import SmallMade
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.workspace import Workspace, checkpoint_view

BEST_OF = "best_of"
"""In the summary of such a checkpoint: the job whose best state it is."""
SMALL_OF = "small_of"
"""In that of a small model made of another one at the end of its training: the job."""
BEFORE = "before"
"""In that of a state before a growth: the job by which the model grew."""
_LONGEST = 56  # characters of a model's id, so that the name has room for what follows


def best_name(workspace: Workspace, model_id: str, job_id: str) -> str:
    """Under which name that job keeps its best state. Blocks: not for the event loop."""
    return name_beside(workspace, model_id, "best", BEST_OF, job_id)


def name_beside(workspace: Workspace, model_id: str, ending: str, mark: str, job_id: str) -> str:
    """MODEL.ending, or with a number: what that job has under the `mark` in its summary, or else may put there."""
    short = (
        model_id
        if len(model_id) <= _LONGEST
        else f"{model_id[: _LONGEST - 9]}-{hashlib.sha256(model_id.encode()).hexdigest()[:8]}"
    )
    known, taken = {info.name: info for info in workspace.checkpoints.infos()}, set(workspace.checkpoints.names())
    own = next((info.name for info in known.values() if info.summary.get(mark) == job_id), None)
    names = (f"{short}.{ending}" if number == 1 else f"{short}.{ending}-{number}" for number in count(1))
    return own or next(name for name in names if name not in taken or _may_go(known.get(name), model_id, mark))


def keep_best(workspace: Workspace, name: str, model_id: str, job_id: str, saved: Saved) -> None:
    """Make a state the checkpoint of that name. Raises CheckpointError where the disk refuses."""
    facts = saved.facts
    best_loss = facts.plan.best_loss if facts.plan else None
    told = {BEST_OF: job_id, "bits_per_byte_held_out": best_loss and best_loss / math.log(2)}
    _keep(workspace, name, model_id, saved, told)


def small_name(workspace: Workspace, model_id: str, job_id: str) -> str:
    """Under which name that job keeps the small model that it ends with. Blocks: not for the event loop."""
    return name_beside(workspace, model_id, "small", SMALL_OF, job_id)


def keep_small(workspace: Workspace, name: str, model_id: str, job_id: str, made: SmallMade) -> dict[str, Any]:
    """Make a small model the checkpoint of that name; what the job tells of it. Raises CheckpointError as `keep_best`."""
    _keep(workspace, name, model_id, made.saved, {SMALL_OF: job_id})
    return {"small_checkpoint": name, **{f"small_{key}": value for key, value in made.report.items()}}


def _keep(workspace: Workspace, name: str, model_id: str, saved: Saved, told: dict[str, Any]) -> None:
    facts = saved.facts
    workspace.checkpoints.publish(
        name,
        saved.path,
        step=facts.step,
        summary=facts.model_dump(mode="json") | {"model_id": model_id} | told,
        overwrite=True,
        guard=lambda info: workspace.records.indexing("checkpoints", name, asdict(checkpoint_view(info))),
    )
    workspace.show()


def best_of(workspace: Workspace, name: str, job_id: str) -> dict[str, Any] | None:
    """What a finished job tells of its best state; None where it has kept none."""
    info = next((info for info in workspace.checkpoints.infos() if info.name == name), None)
    if info is None or info.summary.get(BEST_OF) != job_id:
        return None
    return {
        "best_checkpoint": name,
        "best_step": info.step,
        "best_bits_per_byte_held_out": info.summary["bits_per_byte_held_out"],
    }


def is_beside(info: CheckpointInfo) -> bool:
    """Whether it was kept beside its model, one of its kind per model: retention need not count it."""
    return not {BEST_OF, SMALL_OF, BEFORE}.isdisjoint(info.summary)


def _may_go(info: CheckpointInfo | None, model_id: str, mark: str) -> bool:
    return info is not None and mark in info.summary and not info.pinned and info.summary.get("model_id") == model_id
