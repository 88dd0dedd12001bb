"""scale_model: a model that grows in place, and the way back to the state before.

grow    Grow ─→ the state before becomes the checkpoint MODEL.before, the grown one the model
undo    MODEL.before ─→ Load ─→ the model again; the checkpoint has served, and goes unless it is pinned
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from bitlm_core import (
    CheckpointInfo,
    ConfigError,
    EngineConfig,
    Growth,
    ModelStateError,
    count_parameters,
    estimate_engine_bytes,
    grown_config,
    next_growth,
)
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.messages import ModelFacts, ModelRef, Saved
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.best_states import BEFORE, name_beside
from bitlm_mcp.operations.writing import submit_writer
from bitlm_mcp.workspace import Workspace, checkpoint_view


def grow(workspace: Workspace, model_id: str, step: Growth | None, seed: int) -> Job:
    """Let a model grow by a step, or (None) by the next in the cycle. Raises ConfigError where a limit stands against it."""

    def make(lease: Lease) -> Job:
        before = workspace.models.get(model_id).facts.config
        chosen = step or next_growth(before)
        grown_config(before, chosen)  # refuses what cannot be, before anything is begun
        job_id, incarnation = new_job_id(), workspace.models.new_incarnation()
        name = name_beside(workspace, model_id, "before", BEFORE, job_id)
        command = commands.Grow(
            model=workspace.models.ref(model_id),
            step=chosen,
            seed=seed,
            incarnation=incarnation,
            save_to=workspace.models.folder(model_id),
            before_to=workspace.checkpoints.scratch(name).parent,
        )

        def install(answer: answers.Grown) -> dict[str, Any]:
            _keep(workspace, name, model_id, job_id, answer.before)
            history = workspace.models.get(model_id).history.again()
            workspace.models.install(model_id, incarnation, answer.saved, history, lease)
            workspace.sessions.forget(model_id)
            return _told(chosen, answer.before.facts.config, answer.saved) | {"checkpoint_before": name}

        return _recorded(workspace, model_id, chosen, Job("scale_model", model_id, Urgency.READ, command, job_id), install)

    return _submit(workspace, model_id, make)


def undo(workspace: Workspace, model_id: str) -> Job:
    """Bring back the state before a model's last growth. Raises ModelStateError where none is kept."""

    def make(lease: Lease) -> Job:
        after = workspace.models.get(model_id).facts.config
        info = _before(workspace, model_id, after)
        incarnation, path = workspace.models.new_incarnation(), workspace.models.scratch(model_id)
        workspace.checkpoints.hold(info.name, path)
        ref = ModelRef(model_id=model_id, incarnation=incarnation, state=path)

        def install(answer: answers.Loaded) -> dict[str, Any]:
            saved = Saved(path=path, facts=answer.facts)
            workspace.models.install(model_id, incarnation, saved, answer.record, lease)
            workspace.sessions.forget(model_id)
            if not info.pinned:
                workspace.checkpoints.delete(info.name, workspace.records.indexing("checkpoints", info.name, None))
            workspace.show()
            return _told("undo", after, saved)

        job = Job("scale_model", model_id, Urgency.READ, commands.Load(model=ref, checkpoint=info.name))
        job.on_over = lambda: path.unlink(missing_ok=True)
        return _recorded(workspace, model_id, "undo", job, install)

    return _submit(workspace, model_id, make)


def _submit(workspace: Workspace, model_id: str, make: Callable[[Lease], Job]) -> Job:
    workspace.catch_up()
    workspace.models.get(model_id)
    with workspace.writing:
        writer = workspace.runner.writer(model_id)
        if writer is not None:
            raise ModelStateError(
                f"model {model_id!r} is being changed by {writer.job_id} ({writer.kind}): wait_job or cancel_job first"
            )
        return submit_writer(workspace, model_id, make)


def _recorded(workspace: Workspace, model_id: str, strategy: str, job: Job, install: Callable[[Any], dict[str, Any]]) -> Job:
    job.recorded, job.on_completed = True, install
    workspace.records.add_job(job.view(), {"model_id": model_id, "strategy": strategy}, workspace.presence.server_id)
    return job


def _keep(workspace: Workspace, name: str, model_id: str, job_id: str, before: Saved) -> None:
    """Make the state before a growth the checkpoint of that name. Raises CheckpointError where the disk refuses."""
    workspace.checkpoints.publish(
        name,
        before.path,
        step=before.facts.step,
        summary=before.facts.model_dump(mode="json") | {"model_id": model_id, BEFORE: job_id},
        overwrite=True,
        guard=lambda info: workspace.records.indexing("checkpoints", name, asdict(checkpoint_view(info))),
    )
    workspace.show()


def _before(workspace: Workspace, model_id: str, after: EngineConfig) -> CheckpointInfo:
    """The newest state from which this model, as it is, has grown."""
    for info in workspace.checkpoints.infos():
        if BEFORE in info.summary and info.summary.get("model_id") == model_id and _grew(info.summary, after):
            return info
    raise ModelStateError(
        f"nothing to undo: no checkpoint is the state before the last growth of model {model_id!r} (one growth can be undone, "
        "the last by scale_model): load_checkpoint brings back a state that you have saved"
    )


def _grew(summary: Mapping[str, Any], after: EngineConfig) -> bool:
    """Whether the state of that summary has become a model of this config by its last growth."""
    try:
        before = ModelFacts.told(summary).config
        return after.last_growth is not None and grown_config(before, after.last_growth).model == after.model
    except (ConfigError, ValidationError):
        return False


def _told(strategy: str, before: EngineConfig, saved: Saved) -> dict[str, Any]:
    after = saved.facts.config
    return {
        "strategy": strategy,
        "step": saved.facts.step,
        "num_parameters_before": count_parameters(before.model),
        "num_parameters": count_parameters(after.model),
        "memory_estimate_bytes": estimate_engine_bytes(after),
        "changes": _changes(before.model.model_dump(mode="json"), after.model.model_dump(mode="json")),
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """By name, what a field was and is, where that is not the same."""
    found: dict[str, list[Any]] = {}
    for name, was in before.items():
        now = after[name]
        if isinstance(was, dict) and isinstance(now, dict):
            found |= _changes(was, now)
        elif was != now:
            found[name] = [was, now]
    return found
