"""How a model is watched, and what it must reach: changed, and kept with the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bitlm_core import ConfigError, EngineConfig, Floors, ModelStateError, TelemetryConfig, check_telemetry
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job
from bitlm_mcp.leases import Lease
from bitlm_mcp.operations.writing import submit_writer
from bitlm_mcp.workspace import Workspace

_FLOOR = "floor_"
FLOORS = tuple(f"{_FLOOR}{name}" for name in ("k", "c", "s"))


def set_telemetry(workspace: Workspace, model_id: str, asked: Mapping[str, Any]) -> Job:
    """Change the settings that are named, fields of `TelemetryConfig` and `FLOORS`, and save the model. The rest stays.

    Raises ConfigError for unknown names or values, ModelStateError while something else changes the model.
    """
    workspace.catch_up()
    changed(workspace.models.get(model_id).facts.config, asked)

    def make(lease: Lease) -> Job:
        telemetry, floors = changed(workspace.models.get(model_id).facts.config, asked)
        ref, folder = workspace.models.ref(model_id), workspace.models.folder(model_id)
        command = commands.Watch(model=ref, telemetry=telemetry, floors=floors, save_to=folder)

        def publish(answer: answers.Written) -> None:
            workspace.models.publish(model_id, answer.saved, lease)
            workspace.sessions.forget(model_id)

        return Job("set_telemetry", model_id, Urgency.ANSWER, command, on_completed=publish)

    with workspace.writing:
        writer = workspace.runner.writer(model_id)
        if writer is not None:
            raise ModelStateError(
                f"model {model_id!r} is being changed by {writer.job_id} ({writer.kind}): wait_job or cancel_job with that id, "
                "then call again"
            )
        return submit_writer(workspace, model_id, make)


def changed(config: EngineConfig, asked: Mapping[str, Any]) -> tuple[TelemetryConfig, Floors]:
    """The settings with what was asked for. Another profile begins with the usual floors, but for those that are named.

    What was calibrated stays: only calibrating again can loosen it.
    """
    watch = {name: value for name, value in asked.items() if name not in FLOORS}
    named = {name.removeprefix(_FLOOR): value for name, value in asked.items() if name in FLOORS}
    kept = config.floors
    if watch.get("profile", config.telemetry.profile) != config.telemetry.profile:
        kept = Floors(calibrated=kept.calibrated)
    try:
        telemetry = TelemetryConfig.model_validate(config.telemetry.model_dump() | watch)
        check_telemetry(config.model, telemetry)
        return telemetry, Floors.model_validate(kept.model_dump() | named)
    except ValidationError as error:
        problems = (f"{problem['loc'][-1]}={problem['input']!r:.40}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"telemetry cannot be set like this ({'; '.join(problems)}): mend that, and call again") from None


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `set_telemetry` can change, of a model's configuration, by the same names."""
    floors = config["floors"]
    return dict(config["telemetry"]) | {name: floors[name.removeprefix(_FLOOR)] for name in FLOORS}
