"""set_telemetry: changed, refused, kept over restarts and in checkpoints, and heard of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from bitlm_core import ConfigError, EngineConfig, Floors, ModelStateError, TelemetryConfig, preset_config
from bitlm_mcp.operations.models import load, save
from bitlm_mcp.operations.telemetry import changed, set_telemetry, settings
from tests.mcp.stages import WAIT, stage
from tests.mcp.workspaces import Server, server

HALTING = {"halt_on_drift": True, "drift_window": 1, "drift_threshold": 0.02, "telemetry_every": 1}
CHANGES = {"lambda_c": 2.5, "attention_every": 2, "floor_c": 0.125, "composite_loss": 0.25}


def told(made: Server, model_id: str = "m") -> dict[str, Any]:
    return settings(made.workspace.model(model_id).config)


def test_what_is_named_changes_and_the_rest_stays() -> None:
    config = EngineConfig(telemetry=TelemetryConfig(lambda_k=3), floors=Floors(c=0.4))
    telemetry, floors = changed(config, {"lambda_s": 0, "floor_s": 0.25})
    assert telemetry == TelemetryConfig(lambda_k=3, lambda_s=0) and floors == Floors(c=0.4, s=0.25)


def test_another_profile_brings_its_floors() -> None:
    config = EngineConfig(floors=Floors(c=0.4, s=0.1))
    assert changed(config, {"profile": "standard"})[1] == Floors(c=0.4, s=0.1)
    assert changed(config, {"profile": "legacy", "floor_s": 0.2}) == (TelemetryConfig(profile="legacy"), Floors(s=0.2))


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"drift_window": 0}, "drift_window=0"), ({"floor_k": 2}, "k=2"), ({"lambda_k": -1}, "lambda_k=-1"), ({"x": 1}, "x=1"),
     ({"composite_loss": -1}, "composite_loss=-1"), ({"composite_loss": 1, "lambda_k": 0, "lambda_s": 0}, "of K and S alone"),
     ({"lambda_k": 0, "lambda_c": 0, "lambda_s": 0}, "lambda_k, lambda_c and lambda_s are all 0")],
)  # fmt: skip
def test_what_cannot_be_is_refused(asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        changed(EngineConfig(), asked)


def test_a_composite_loss_that_the_network_cannot_have_is_refused() -> None:
    mix = EngineConfig(model=preset_config(None, "mix"))
    with pytest.raises(ConfigError, match="architecture='mix' has none"):
        changed(mix, {"composite_loss": 0.5})
    assert changed(EngineConfig(), {"composite_loss": 0.5})[0].composite_loss == 0.5


def test_settings_and_floors_survive_training_restart_and_checkpoint(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.data()
        made.create()
        made.completed(set_telemetry(made.workspace, "m", CHANGES))
        wanted = settings(EngineConfig().model_dump()) | CHANGES
        assert told(made) == wanted and made.workspace.model("m").step == 0
        made.trained(steps=2)
        assert told(made) == wanted
        points = made.workspace.model("m").history
        assert [point.attention_entropy is not None for point in points] == [False, True]
        assert points[-1].memory_bytes and points[-1].bytes_per_second and points[-1].composite is not None
        made.completed(save(made.workspace, "kept", "m", overwrite=False, pinned=False))
    with server(tmp_path / "state") as again:
        assert told(again) == wanted
        assert again.workspace.model("m").history == points  # all of it comes back from the database
        again.completed(load(again.workspace, "kept", "other", overwrite=False))
        assert told(again, "other") == wanted
        with pytest.raises(ConfigError):
            set_telemetry(again.workspace, "m", {"drift_window": -1})
        assert told(again) == wanted


def test_a_model_that_is_being_trained_is_not_changed(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.data()
        made.create()
        job = made.train(seconds=60)
        made.until_step(1)
        with pytest.raises(ModelStateError, match=job.job_id):
            set_telemetry(made.workspace, "m", {"lambda_c": 2.5})
        assert told(made)["lambda_c"] == 1


@pytest.mark.anyio
async def test_drift_ends_a_training_that_is_saved_and_says_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        answer = await made.call("set_telemetry", **HALTING)
        assert answer["settings"]["halt_on_drift"] is True and answer["settings"]["floor_c"] == 0.3
        # Two moves of less than half of that in a row settle a metric; the next that is larger is drift.
        ended = await made.call("train_step", dataset_id="data", steps=200, batch_size=2, learning_rate=0.02, **WAIT)
        assert ended["status"] == "completed" and ended["steps_done"] < 200
        assert "halt_on_drift" in ended["note"] and ended["saved_step"] == ended["step"]
        alerts = (await made.call("get_telemetry"))["alerts"]
        assert alerts and "drifted" in alerts[-1]
        marks = made.workspace.model("default").marks
        assert [mark.text for mark in marks] == alerts and marks[-1].step == ended["step"] and marks[-1].kind == "drift"
        await made.call("save_checkpoint", name="drifted")
        await made.call("load_checkpoint", name="drifted", model_id="again")
        assert made.workspace.model("again").marks == marks
        await made.call("set_telemetry", halt_on_drift=False)
        on = await made.call("train_step", dataset_id="data", steps=3, batch_size=2, **WAIT)
        assert on["steps_done"] == 3 and "note" not in on
        with anyio.fail_after(30):
            assert "drift_window" in await made.refusal("set_telemetry", drift_window=0)


@pytest.mark.anyio
async def test_the_legacy_profile_is_what_the_gate_judges_by(tmp_path: Path) -> None:
    collapsed = {"prompt": "The", "max_new_bytes": 80, "temperature": 0, "safety": "warn"}
    async with stage(tmp_path) as made:
        assert (await made.call("infer", **collapsed))["verdict"]["reasons"][0].startswith("C 0.")
        settings = (await made.call("set_telemetry", profile="legacy"))["settings"]
        assert (settings["profile"], settings["floor_k"], settings["floor_c"], settings["floor_s"]) == ("legacy", 0, 0.3, 0.5)
        legacy = await made.call("infer", **collapsed)
        assert legacy["telemetry"]["transition_rate"] > 0.3
        assert not any(reason.startswith("C ") for reason in legacy["verdict"]["reasons"])
        await made.call("set_telemetry", floor_c=0.9)
        stricter = await made.call("infer", **collapsed)
        assert (
            stricter["verdict"]["reasons"][0].startswith("transition rate 0.") and "< 0.9" in stricter["verdict"]["reasons"][0]
        )
