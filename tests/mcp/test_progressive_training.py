"""Trainings in which the network grows, as jobs: told everywhere, saved whole, stopped and resumed without a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlm_core import Engine, Growing, ModelStateError, ProgressiveConfig, ResourceLimitError, TrainingConfig, read_file
from bitlm_mcp.compute.answers import Progress
from bitlm_mcp.compute.commands import Train
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.messages import DataPart, ModelRef
from bitlm_mcp.compute.training import Training
from bitlm_mcp.history import History
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.training import resume
from bitlm_mcp.snapshot import HistoryPoint
from tests.mcp.stages import WAIT, stage
from tests.mcp.workspaces import TEXT, Server, config, server

RULE = ProgressiveConfig(improve_threshold=0.999, window=1, patience=1, warmup_steps=4, frozen_steps=2, last_share=0.1)
PLAN: dict[str, Any] = {"validate_every": 2, "growing": Growing(settings=RULE)}


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out data is known ever worse."""
    losses = iter(range(1, 10_000))
    monkeypatch.setattr("bitlm_core.learning.held_out_loss", lambda *_: float(next(losses)))


def learned(made: Server) -> list[HistoryPoint]:
    points = made.workspace.model("m").history
    return [replace(point, bytes_per_second=None, memory_bytes=None) for point in points]


def same_weights(left: Server, right: Server) -> bool:
    """Whether the saved states of both are bit for bit the same: weights, moments, mixer."""
    mine, other = (read_file(made.workspace.models.ref("m").state, "m")[0] for made in (left, right))
    return mine.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in mine.items())


def training(folder: Path, entry: Entry, **fields: Any) -> Training:
    (folder / "data").write_bytes(TEXT)
    half = len(TEXT) // 2
    parts = [DataPart(path=folder / "data", start=start, end=start + half, digest=str(start)) for start in (0, half)]
    plan = {"steps": 20, **PLAN, **fields}
    command = Train.model_validate(
        {
            **{"model": ModelRef(model_id="m", incarnation=0, state=folder), "job_id": "j", "data": parts[0]},
            **{"held_out": parts[1], "plan": plan, "training": TrainingConfig(batch_size=2), "save_to": folder},
            "autosave_s": 0.0,
        }
    )
    return Training(entry, command, lambda _: None)


def test_it_is_told_and_it_stays(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.data()
        made.create()
        small = made.workspace.model("m").num_parameters
        done = made.trained(steps=10, **PLAN)
        assert ["grown" in each or "kept" in each for each in done.growths] == [True] * len(done.growths) and done.growths
        view = made.workspace.model("m")
        assert view.num_parameters > small and view.step == 10 and set(done.growths) <= set(view.alerts)
    with server(tmp_path) as again:
        assert again.workspace.job(done.job_id).growths == done.growths
        assert again.workspace.model("m").num_parameters == view.num_parameters


def test_a_stop_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    with server(tmp_path / "straight") as straight:
        straight.data()
        straight.create()
        straight.trained(steps=14, **PLAN)
    with server(tmp_path / "stopped") as first:
        first.data()
        first.create()
        job = first.train(steps=14, **PLAN)
        first.until_step(6)  # on trial since step 4, until step 8
    with server(tmp_path / "stopped") as second:
        if second.workspace.job(job.job_id).status == "interrupted":  # else it was quicker than the stop
            assert second.workspace.model("m").step == second.workspace.job(job.job_id).saved_step
            resume(second.workspace, job.job_id, queue=False)
            assert second.ended(job.job_id).status == "completed"
        assert learned(second) == learned(straight) and same_weights(second, straight)


def test_what_is_saved_never_holds_a_growth_on_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_mcp.compute.training.MAX_SAVING_SHARE", 1e9)
    entry = Entry(Engine(config()), 0)
    saved = [each.saved for each in training(tmp_path, entry, steps=9).steps() if each.saved]
    engines = [Engine.from_state(*read_file(each.path, "state")) for each in saved]
    assert [engine.step for engine in engines] == [1, 2, 3, 4, 8, 9]  # on trial from step 4 to 8
    plans = [engine.plan for engine in engines]
    assert all(plan and plan.growing and plan.growing.loss_before is None for plan in plans)
    asked = next(engine for engine, plan in zip(engines, plans, strict=True) if plan and plan.growing and plan.growing.asks)
    assert asked.step == 4 and asked.config.model == config().model
    assert [engine.config.model.num_layers for engine in engines[4:]] == [2, 2]


def test_a_stop_in_a_trial_saves_the_model_of_before(tmp_path: Path) -> None:
    entry = Entry(Engine(config()), 0)
    run = training(tmp_path, entry)
    steps = run.steps()
    assert next(each for each in steps if "on trial" in each.message)
    assert next(each.point for each in steps if each.point and each.point.step == 6)
    assert entry.engine.config.model.num_layers == 2
    told = run.saving()
    assert told.saved is not None and told.saved.facts.step == entry.engine.step == 4
    assert entry.engine.config.model.num_layers == 1 and entry.history.points[-1].step == 4 and not entry.unsaved


def test_what_is_undone_is_forgotten_in_the_record(tmp_path: Path, worse: None) -> None:
    entry = Entry(Engine(config()), 0)
    told: list[Progress] = list(training(tmp_path, entry, steps=30).steps())
    alerts = [alert for each in told for alert in each.alerts]
    assert [alert.split(": ")[1].split()[0] for alert in alerts] == ["grown", "the"] * 3 + ["grows"]
    steps = [point.step for point in entry.history.points]
    assert steps == list(range(1, 30 - 3 * 4 + 1)) and entry.engine.step == steps[-1]
    assert list(entry.history.alerts) == alerts == list(told[-1].growths)


def test_without_memory_it_goes_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Engines.make_room

    def make_room(self: Engines, asked: Any, what: str, *, apart_from: str) -> None:
        if asked.model.num_layers > 1 or asked.model.d_model > 32 or asked.model.max_seq_len > 64:
            raise ResourceLimitError("there is no memory for that", estimate=2, limit=1)
        before(self, asked, what, apart_from=apart_from)

    monkeypatch.setattr(Engines, "make_room", make_room)
    with server(tmp_path) as made:
        made.data()
        made.create()
        done = made.trained(steps=10, **PLAN)
        assert "grows no more" in done.growths[0] and "there is no memory for that" in done.growths[0]
        assert made.workspace.model("m").config["model"]["num_layers"] == 1


def test_a_cancelled_one_can_go_on(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.data()
        made.create()
        job = made.train(seconds=600, **PLAN)
        made.until_step(6)
        cancel(made.workspace, job.job_id)
        assert made.ended(job.job_id).status == "cancelled"
        step = made.workspace.model("m").step
        resume(made.workspace, job.job_id, queue=False)
        made.until_step(step + 1)
        with pytest.raises(ModelStateError, match="not interrupted or cancelled"):
            resume(made.workspace, job.job_id, queue=False)


def test_a_step_that_comes_again_replaces_what_followed() -> None:
    def point(step: int, loss: float) -> HistoryPoint:
        return HistoryPoint(step, loss, loss, None, 0.0, 0.0, None, None, None)

    history = History()
    for step, loss in ((1, 4.0), (2, 3.0), (3, 2.0), (2, 9.0)):
        history.add(point(step, loss))
    assert [(each.step, each.loss) for each in history.points] == [(1, 4.0), (2, 9.0)]
    history.cut(1)
    assert [each.step for each in history.points] == [1]


@pytest.mark.anyio
async def test_it_is_asked_for_and_told_over_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_mcp.tools.plans.ProgressiveConfig", lambda **given: RULE.model_copy(update=given))
    async with stage(tmp_path) as made:
        text = await made.refusal("train_step", dataset_id="data", steps=5, max_parameters=5)
        assert "max_parameters belongs to progressive training" in text
        assert "text and data_base64 have none" in await made.refusal("train_step", text="abc", progressive=True)
        assert "leave one of both out" in await made.refusal("train_step", dataset_id="data", progressive=True, patience=3)
        asked = {"dataset_id": "data", "steps": 10, "validate_every": 2, "batch_size": 2}
        done = await made.call("train_step", **asked, progressive=True, improve_threshold=0.999, **WAIT)
        assert "grown by layer" in done["growths"][0] and done["status"] == "completed"
        assert (await made.call("wait_job", job_id=done["job_id"]))["growths"] == done["growths"]
        told = await made.call("get_telemetry", full=True)
        assert set(done["growths"]) <= set(told["alerts"])
        assert "growths" not in await made.call("train_step", dataset_id="data", steps=1, **WAIT)
