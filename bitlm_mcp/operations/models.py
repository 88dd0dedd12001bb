"""Models and checkpoints: made, loaded, saved, deleted."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any, Literal

from bitlm_core import BitLMError, EngineConfig
from bitlm_mcp.compute import answers, commands, messages
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.history import History
from bitlm_mcp.jobs import Job
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.best_states import is_beside
from bitlm_mcp.operations.writing import check_replaceable, submit_writer
from bitlm_mcp.workspace import Workspace, checkpoint_view

log = logging.getLogger("bitlm.models")


def create_model(workspace: Workspace, model_id: str, config: EngineConfig, *, overwrite: bool) -> Job:
    """Make a fresh model. The compute side estimates its memory before anything is allocated."""
    incarnation = workspace.models.new_incarnation()

    def make(lease: Lease) -> Job:
        check_replaceable(workspace, model_id, overwrite)

        def install(answer: answers.Written) -> None:
            workspace.models.install(model_id, incarnation, answer.saved, History(), lease)

        folder = workspace.models.folder(model_id)
        command = commands.Create(model_id=model_id, incarnation=incarnation, config=config, save_to=folder)
        return Job("init_model", model_id, Urgency.ANSWER, command, on_completed=install)

    with workspace.writing:
        return submit_writer(workspace, model_id, make)


def load(workspace: Workspace, name: str, model_id: str, *, overwrite: bool) -> Job:
    """Make a model of a checkpoint, after its digest was checked."""
    workspace.checkpoints.info(name)
    incarnation, path = workspace.models.new_incarnation(), workspace.models.scratch(model_id)

    def make(lease: Lease) -> Job:
        check_replaceable(workspace, model_id, overwrite)
        workspace.checkpoints.hold(name, path)

        def install(answer: answers.Loaded) -> None:
            saved = Saved(path=path, facts=answer.facts)
            workspace.models.install(model_id, incarnation, saved, answer.record, lease)

        ref = messages.ModelRef(model_id=model_id, incarnation=incarnation, state=path)
        command = commands.Load(model=ref, checkpoint=name)
        job = Job("load_checkpoint", model_id, Urgency.ANSWER, command, on_completed=install)
        job.on_over = lambda: path.unlink(missing_ok=True)
        return job

    try:
        with workspace.writing:
            return submit_writer(workspace, model_id, make)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def save(workspace: Workspace, name: str, model_id: str, *, overwrite: bool, pinned: bool) -> Job:
    """Save a model under a name; while it trains, the state between two steps."""
    workspace.catch_up()
    ref = workspace.models.ref(model_id)
    workspace.checkpoints.check_free(name, overwrite)

    def publish(answer: answers.Written) -> dict[str, Any]:
        saved = answer.saved
        summary = saved.facts.model_dump(mode="json") | {"model_id": model_id}
        info = workspace.checkpoints.publish(
            name,
            saved.path,
            step=saved.facts.step,
            summary=summary,
            overwrite=overwrite,
            pinned=pinned,
            guard=lambda info: workspace.records.indexing("checkpoints", name, asdict(checkpoint_view(info))),
        )
        try:
            _keep_last(workspace, model_id)
        except BitLMError as error:  # what was asked for is done; there is a next time for this
            log.warning("older checkpoints of model %s stay: %s", model_id, error.message)
        workspace.show()
        return asdict(checkpoint_view(info))

    command = commands.Write(model=ref, save_to=workspace.checkpoints.scratch(name).parent)
    return workspace.runner.submit(Job("save_checkpoint", model_id, Urgency.ANSWER, command, on_completed=publish))


def delete(workspace: Workspace, kind: Literal["model", "checkpoint", "dataset"], name: str) -> None:
    """Remove a model, a checkpoint or a dataset for ever. Raises UnknownHandleError or CheckpointNotFoundError for none."""
    if kind == "dataset":
        workspace.datasets.delete(name, workspace.records.indexing("datasets", name, None))
    elif kind == "checkpoint":
        _delete_checkpoint(workspace, name)
    else:
        _delete_model(workspace, name)
    workspace.show()


def _delete_checkpoint(workspace: Workspace, name: str) -> None:
    workspace.checkpoints.delete(name, workspace.records.indexing("checkpoints", name, None))


def _delete_model(workspace: Workspace, model_id: str) -> None:
    with workspace.writing:
        lease = workspace.leases.acquire(model_id, "delete")
        try:
            workspace.refresh()
            workspace.models.get(model_id)
            check_replaceable(workspace, model_id, overwrite=True)
            workspace.models.delete(model_id)
        finally:
            workspace.leases.release(lease)
    # Whatever is asked for after this comes after it on the compute side too.
    workspace.runner.submit(Job("delete", model_id, Urgency.ANSWER, commands.Drop(model_id=model_id)))


def _keep_last(workspace: Workspace, model_id: str) -> None:
    """Retention: of each model, only so many unpinned checkpoints stay as the settings say."""
    limit = workspace.settings.keep_last
    if limit is None:
        return
    own = [info for info in workspace.checkpoints.infos() if info.summary.get("model_id") == model_id]
    for info in [info for info in own if not info.pinned and not is_beside(info)][limit:]:
        _delete_checkpoint(workspace, info.name)
