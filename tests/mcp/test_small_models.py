"""Progressive trainings that end with a small model: a checkpoint that loads, and nothing of it where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlm_core import (
    CheckpointStore,
    DistillConfig,
    DistillProgress,
    Engine,
    Growing,
    ModelStateError,
    ProgressiveConfig,
    read_file,
    write_file,
)
from bitlm_mcp.compute.training import TRAINED
from bitlm_mcp.operations.models import load
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.training import resume
from tests.mcp.command_line import invoked, refused
from tests.mcp.stages import TINY, WAIT, stage
from tests.mcp.workspaces import TEXT, Server, config, server, wait_until

COLLAPSES: dict[str, Any] = {
    "validate_every": 2,
    "growing": Growing(settings=ProgressiveConfig(auto_collapse=True, quantize="int4")),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of two steps, without medoids."""
    settings = DistillConfig(steps=2, max_rounds=1, num_clusters=0)
    monkeypatch.setattr("bitlm_core.transform.afterwards.budget", lambda _: settings)


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path) as made:
        made.data()
        made.create(d_model=64)
        yield made


def afterwards(monkeypatch: pytest.MonkeyPatch, steps: Callable[..., Any]) -> None:
    monkeypatch.setattr("bitlm_core.small_steps", steps)


def test_it_is_kept_beside_the_model_and_named(mine: Server) -> None:
    done = mine.trained(steps=4, **COLLAPSES)
    told = done.result or {}
    assert told["small_checkpoint"] == "m.small" and told["small_quantized"] == "int4"
    assert "collapsed to" in done.growths[-1] and done.growths[-1] in mine.workspace.model("m").alerts
    whole = mine.workspace.model("m")
    assert (whole.step, done.saved_step) == (4, 4)
    assert whole.num_parameters == told["small_num_parameters_before"] > 3 * told["small_num_parameters"]
    mine.completed(load(mine.workspace, "m.small", "s", overwrite=False))
    small = mine.workspace.model("s")
    assert (small.num_parameters, small.quantized) == (told["small_num_parameters"], "int4")
    assert [point.step for point in small.history] == [1, 2]
    assert not list(mine.workspace.checkpoints.root.glob("*/.*"))
    again = mine.trained(steps=1, **COLLAPSES)
    assert (again.result or {})["small_checkpoint"] == "m.small" and mine.workspace.checkpoints.names() == ["m.small"]


def test_a_stop_leaves_the_model_and_the_rest_is_made_later(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> Iterator[DistillProgress]:
        while True:
            yield DistillProgress(0.5, 1)

    with monkeypatch.context() as patched:
        afterwards(patched, endless)
        job = mine.train(steps=4, **COLLAPSES)
        wait_until(lambda: mine.workspace.job(job.job_id).progress > TRAINED, "it is being made smaller")
        cancel(mine.workspace, job.job_id)
        stopped = mine.ended(job.job_id)
    assert (stopped.status, stopped.saved_step, stopped.result) == ("cancelled", 4, None)
    assert mine.workspace.checkpoints.names() == [] and mine.workspace.model("m").step == 4
    before = read_file(mine.workspace.models.ref("m").state, "m")[0]
    resume(mine.workspace, job.job_id, queue=False)
    done = mine.ended(job.job_id)
    assert (done.status, (done.result or {})["small_checkpoint"]) == ("completed", "m.small")
    after = read_file(mine.workspace.models.ref("m").state, "m")[0]
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)


def test_where_it_fails_the_model_is_saved(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Iterator[DistillProgress]:
        yield DistillProgress(0.0, 1)
        raise ModelStateError("there is no teacher")

    afterwards(monkeypatch, fails)
    done = mine.ended(mine.train(steps=3, **COLLAPSES).job_id)
    assert (done.status, done.saved_step) == ("failed", 3)
    assert done.error == "the model was trained and saved, but no smaller one was made of it: there is no teacher"
    assert mine.workspace.model("m").step == 3 and mine.workspace.checkpoints.names() == []


@pytest.mark.anyio
async def test_it_is_asked_for_over_the_protocol(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        asked = {"dataset_id": "data", "steps": 2, "batch_size": 2}
        assert "auto_collapse, quantize belongs to progressive" in await made.refusal(
            "train_step", **asked, auto_collapse=True, quantize="int8"
        )
        before = made.state()
        text = await made.refusal("train_step", **asked, progressive=True, auto_collapse=True)
        assert "start with a wider network" in text and made.state() == before
        await made.call("init_model", **{**TINY, "d_model": 64}, model_id="wide")
        asked |= {"model_id": "wide", "progressive": True, "auto_collapse": True}
        done = await made.call("train_step", **asked, **WAIT)
        assert done["result"]["small_checkpoint"] == "wide.small" and "collapsed to" in done["growths"][0]
        await made.call("load_checkpoint", name="wide.small", model_id="small")
        assert 0 < (await made.call("score", model_id="small", text="the quick brown fox", **WAIT))["bits_per_byte"] < 16


def test_a_shell_makes_it_too(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    write_file(tmp_path / "model", *Engine(config(d_model=64)).state())
    asked = ("train", tmp_path / "text", "--model", tmp_path / "model", "--steps", 2, "--batch-size", 2)
    assert "auto_collapse belongs to progressive" in refused(*asked, "--out", tmp_path / "o", "--auto-collapse")
    small = (*asked, "--progressive", "--auto-collapse", "--quantize", "int8", "--json", "--state-dir", tmp_path)
    told = json.loads(invoked(*small, "--save-as", "m").stdout)
    assert (told["saved"], told["small_saved"]) == ("m", "m.small")
    assert told["small_num_parameters"] < told["num_parameters"] / 3
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.names() == ["m", "m.small"] and store.info("m.small").summary["model_id"] == "m.small"
    (tmp_path / "o.small").write_bytes(b"")
    assert "exists already" in refused(*small, "--out", tmp_path / "o") and not (tmp_path / "o").exists()
    assert invoked(*small, "--out", tmp_path / "o", "--force").exit_code == 0
    made = Engine.from_state(*read_file(tmp_path / "o.small", "o.small"))
    assert made.config.model.quantized == "int8" and made.num_parameters == told["small_num_parameters"]
