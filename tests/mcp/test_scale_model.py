"""scale_model: what grows, what is kept of before, the way back, and that a growth that fails or is stopped changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlm_core import CheckpointError, ConfigError, ModelStateError, ResourceLimitError, read_file
from bitlm_mcp.compute import commands, engines
from bitlm_mcp.compute.executor import Executor, Stopped
from bitlm_mcp.compute.growth import growth_steps
from bitlm_mcp.compute.messages import ModelRef
from bitlm_mcp.jobs import Job
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.growth import grow, undo
from bitlm_mcp.operations.models import load, save
from tests.mcp.stages import client
from tests.mcp.workspaces import Server


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, keep_last=1)
    server.data()
    server.create()
    server.trained(steps=2)
    yield server
    if not server.workspace.closing:
        server.close()


def result(job: Job) -> dict[str, Any]:
    assert job.result is not None
    return job.result


def tensors_of(server: Server) -> dict[str, bytes]:
    """The saved state of the model, but for nothing."""
    tensors, _ = read_file(server.workspace.models.ref("m").state, "m")
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def test_a_model_grows_and_the_state_before_comes_back(mine: Server) -> None:
    before, said = tensors_of(mine), mine.infer()
    told = result(mine.completed(grow(mine.workspace, "m", "width", seed=1)))
    view = mine.workspace.model("m")
    assert told["changes"] == {"d_model": [32, 64], "nhead": [1, 2], "dim_feedforward": [128, 256]}
    assert told["num_parameters"] == view.num_parameters > told["num_parameters_before"]
    assert told["memory_estimate_bytes"] == view.memory_estimate_bytes
    assert (told["strategy"], told["step"], told["checkpoint_before"]) == ("width", 2, "m.before")
    assert [point.step for point in view.history] == [1, 2]
    assert mine.infer() == said
    mine.trained(steps=1)
    mine.close()
    again = Server(mine.workspace.settings.state_dir)
    assert again.workspace.model("m").num_parameters == told["num_parameters"] and again.workspace.model("m").step == 3
    back = result(again.completed(undo(again.workspace, "m")))
    assert back["changes"] == {name: pair[::-1] for name, pair in told["changes"].items()} and back["step"] == 2
    assert tensors_of(again) == before and again.infer() == said
    assert again.workspace.checkpoints.names() == [] and not again.workspace.snapshot.checkpoints
    with pytest.raises(ModelStateError, match="nothing to undo"):
        undo(again.workspace, "m")
    again.close()


def test_auto_goes_round_and_one_state_before_is_kept_beside_what_is_saved(mine: Server) -> None:
    done = [result(mine.completed(grow(mine.workspace, "m", None, seed=0)))["strategy"] for _ in range(4)]
    assert done == ["layer", "width", "context", "layer"]
    mine.completed(save(mine.workspace, "m", "m", overwrite=False, pinned=False))
    assert mine.workspace.checkpoints.names() == ["m", "m.before"]
    mine.workspace.checkpoints.pin("m.before", True)
    assert result(mine.completed(grow(mine.workspace, "m", None, seed=0)))["checkpoint_before"] == "m.before-2"
    assert result(mine.completed(undo(mine.workspace, "m")))["changes"]["d_model"] == [128, 64]
    assert mine.workspace.checkpoints.names() == ["m", "m.before"]  # what is pinned serves, and stays
    assert result(mine.completed(undo(mine.workspace, "m")))["changes"] == {"num_layers": [3, 2]}
    assert mine.workspace.checkpoints.names() == ["m", "m.before"]


def test_another_model_of_the_same_name_is_not_brought_back_over(mine: Server) -> None:
    mine.completed(grow(mine.workspace, "m", "layer", seed=0))
    mine.create("m", overwrite=True)
    with pytest.raises(ModelStateError, match="nothing to undo"):
        undo(mine.workspace, "m")
    mine.completed(load(mine.workspace, "m.before", "m", overwrite=True))  # by its name it can be
    assert mine.workspace.model("m").step == 2


def test_what_cannot_grow_is_refused_before_a_job_is_made(mine: Server) -> None:
    jobs = len(mine.workspace.snapshot.jobs)
    mine.create("long", max_seq_len=131_072)
    with pytest.raises(ConfigError, match="max_seq_len=131072 cannot be doubled"):
        grow(mine.workspace, "long", "context", seed=0)
    training = mine.train(steps=2_000)
    with pytest.raises(ModelStateError, match=rf"changed by {training.job_id}"):
        grow(mine.workspace, "m", "layer", seed=0)
    mine.workspace.runner.compute.stop_task(training.job_id)
    mine.ended(training.job_id)
    assert len(mine.workspace.snapshot.jobs) == jobs + 2  # of the fresh model, and the training


@pytest.mark.parametrize("fault", ["memory", "checkpoint", "model"])
def test_a_growth_that_fails_leaves_the_model_as_it_was(mine: Server, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    before, said = tensors_of(mine), mine.infer()

    def refuse(*_: Any, **__: Any) -> None:
        raise ResourceLimitError("no memory", estimate=2, limit=1) if fault == "memory" else CheckpointError("full", name="m")

    where = {"memory": (engines, "require_memory"), "checkpoint": (mine.workspace.checkpoints, "publish")}
    with monkeypatch.context() as patched:
        patched.setattr(*where.get(fault, (mine.workspace.models, "install")), refuse)
        job = mine.over(grow(mine.workspace, "m", "width", seed=0))
    assert job.status == "failed" and job.error is not None
    assert tensors_of(mine) == before and mine.infer() == said and mine.workspace.model("m").config["last_growth"] is None
    assert result(mine.completed(grow(mine.workspace, "m", "width", seed=0)))["step"] == 2


def test_stopped_at_any_point_the_model_is_as_it_was(mine: Server, tmp_path: Path) -> None:
    """In memory and on the disk, with nothing left behind."""
    saved, folder = mine.workspace.models.ref("m"), tmp_path / "beside"
    folder.mkdir()
    on_disk = saved.state.read_bytes()
    ref, executor = ModelRef(model_id="m", incarnation=1, state=saved.state), Executor()
    command = commands.Grow(model=ref, step="width", seed=0, incarnation=2, save_to=folder, before_to=folder)
    engine = executor.engines.get(ref).engine
    before = {name: value.clone() for name, value in engine.state()[0].items()}
    points = 0
    while True:
        steps = growth_steps(executor.engines, command)
        try:
            for _ in range(points + 1):
                next(steps)
        except StopIteration as stop:
            answer = stop.value
            break
        points += 1
        with pytest.raises(Stopped):
            steps.throw(Stopped)
        assert executor.engines.get(ref).engine is engine and not list(folder.iterdir())
        assert all(bool((value == before[name]).all()) for name, value in engine.state()[0].items())
    assert points == 6 and saved.state.read_bytes() == on_disk
    grown = executor.engines.get(ref.model_copy(update={"incarnation": 2, "state": answer.saved.path})).engine
    assert grown.config.model.d_model == 64 and len(list(folder.iterdir())) == 2


@pytest.mark.anyio
async def test_agents_are_told_what_came_of_it(mine: Server) -> None:
    async with client(mine) as asked:
        await asked.call_tool("init_model", {"model_id": "mix", "architecture": "mix", "mixing_memory_mib": 8})
        for arguments, words in (({"model_id": "mix"}, "no network"), ({"model_id": "m", "strategy": "undo"}, "nothing to")):
            refused = await asked.call_tool("scale_model", arguments)
            assert refused.is_error and words in str(refused.content)
        found = (await asked.call_tool("scale_model", {"model_id": "m"})).structured_content
        assert found is not None and found["changes"] == {"num_layers": [1, 2]} and found["status"] == "completed"
        assert found["next"].startswith("train_step(model_id='m'")
        waited = (await asked.call_tool("wait_job", {"job_id": found["job_id"]})).structured_content
        assert waited is not None and waited["result"]["checkpoint_before"] == "m.before"
    assert mine.trained(steps=1, source=Source(dataset_id="data")).step == 3
