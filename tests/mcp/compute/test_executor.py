"""What each command does: saved in time, kept on failure, unloaded when room is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bitlm_core
from bitlm_core import BitLMError, CheckpointCorruptError, ResourceLimitError, TrainingConfig, TrainingPlan, bytes_in_memory
from bitlm_mcp.compute import engines
from bitlm_mcp.compute.answers import Loaded, Written
from bitlm_mcp.compute.commands import Command, Create, Drop, Load, Train, Write
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.executor import Executor, ModelLostError, Stopped
from bitlm_mcp.compute.messages import DataPart, ModelRef, Saved
from tests.mcp.workspaces import TEXT, config


@pytest.fixture
def data(tmp_path: Path) -> DataPart:
    (tmp_path / "data").write_bytes(TEXT)
    return DataPart(path=tmp_path / "data", start=0, end=len(TEXT), digest=bytes_in_memory(TEXT).digest)


class Bench:
    """An executor, and the states it has saved."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.executor = folder, Executor()
        self.states: dict[str, Saved] = {}

    def run(self, command: Command) -> tuple[Any, list[Progress]]:
        steps, told = self.executor.execute(command), []
        while True:
            try:
                told.append(next(steps))
            except StopIteration as stop:
                return stop.value, told

    def create(self, model_id: str = "m") -> Saved:
        command = Create(model_id=model_id, incarnation=1, config=config(), save_to=self.folder)
        answer, _ = self.run(command)
        assert isinstance(answer, Written)
        self.states[model_id] = answer.saved
        return answer.saved

    def ref(self, model_id: str = "m", incarnation: int = 1) -> ModelRef:
        return ModelRef(model_id=model_id, incarnation=incarnation, state=self.states[model_id].path)

    def training(self, data: DataPart, *, steps: int, autosave_s: float = 1000.0, model_id: str = "m") -> Train:
        return Train(
            model=self.ref(model_id),
            job_id="job-1",
            data=data,
            plan=TrainingPlan(steps=steps),
            training=TrainingConfig(batch_size=2, telemetry_every=2),
            autosave_s=autosave_s,
            save_to=self.folder,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "states").mkdir()
    return Bench(tmp_path / "states")  # type: ignore[return-value]


def step_in(saved: Saved) -> int:
    header = bitlm_core.read_header(saved.path, "state")
    assert header["step"] == saved.facts.step
    return saved.facts.step


def test_a_training_tells_every_step_and_ends_saved(bench: Bench, data: DataPart) -> None:
    bench.create()
    answer, told = bench.run(bench.training(data, steps=4))
    assert [progress.point.step for progress in told if progress.point] == [1, 2, 3, 4]
    assert [progress.share for progress in told] == [0.25, 0.5, 0.75, 1.0]
    assert all(progress.saved is None for progress in told)
    assert step_in(answer.saved) == 4 and answer.saved.facts.trained_by == "job-1"
    plan = answer.saved.facts.plan
    assert plan is not None and plan.finished


def test_a_training_saves_in_time_and_its_state_is_that_of_the_step(bench: Bench, data: DataPart) -> None:
    bench.create()
    _, told = bench.run(bench.training(data, steps=200, autosave_s=0.05))
    saved = [(index, progress.saved) for index, progress in enumerate(told) if progress.saved]
    assert saved, "200 steps take longer than that"
    for index, state in saved:
        before = told[index - 1].point
        assert state is not None and before is not None and step_in(state) == before.step


def test_a_training_that_is_stopped_saves_first(bench: Bench, data: DataPart) -> None:
    bench.create()
    steps = bench.executor.execute(bench.training(data, steps=1000))
    for _ in range(3):
        next(steps)
    last = steps.throw(Stopped)
    assert last.saved is not None and step_in(last.saved) == 3
    with pytest.raises(Stopped):
        next(steps)
    assert bench.executor.engines.get(bench.ref()).engine.step == 3


def test_a_training_that_is_stopped_before_it_begins_saves_nothing(bench: Bench, data: DataPart) -> None:
    bench.create()
    before = sorted(bench.folder.iterdir())
    one_byte = data.model_copy(update={"end": 1})
    with pytest.raises(BitLMError, match="too little to learn from"):
        bench.run(bench.training(one_byte, steps=3))
    assert sorted(bench.folder.iterdir()) == before


def test_a_disk_that_refuses_is_told_and_tried_again(bench: Bench, data: DataPart, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.create()

    def refuse(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bitlm_core, "write_file", refuse)
    steps = bench.executor.execute(bench.training(data, steps=60, autosave_s=0.02))
    told = []
    with pytest.raises(BitLMError, match="No space left"):
        while True:
            told.append(next(steps))
    alerts = [alert for progress in told for alert in progress.alerts if "not saved" in alert]
    assert len(alerts) > 1 and all("No space left" in alert for alert in alerts)
    # Nothing half-written stays, and what was learned is still in memory for whoever makes room.
    assert [path.name for path in bench.folder.iterdir()] == [bench.states["m"].path.name]
    monkeypatch.undo()
    answer, _ = bench.run(Write(model=bench.ref(), save_to=bench.folder))
    assert step_in(answer.saved) == 60


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("can't allocate memory"), RuntimeError("a fault of ours")])
def test_a_fault_in_a_step_takes_the_model_back_to_its_saved_state(
    bench: Bench, data: DataPart, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    bench.create()
    bench.create("other")
    steps = bench.executor.execute(bench.training(data, steps=100))
    next(steps)
    engine = bench.executor.engines.get(bench.ref()).engine

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(engine.trainer, "step", fail)
    with pytest.raises(ModelLostError) as caught:
        next(steps)
    assert caught.value.__cause__ is fault
    assert bench.executor.engines.get(bench.ref()).engine.step == 0
    bench.run(bench.training(data, steps=2, model_id="other"))


def test_a_loss_that_is_no_number_keeps_the_last_good_weights(
    bench: Bench, data: DataPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create()
    steps = bench.executor.execute(bench.training(data, steps=100))
    next(steps)
    trainer = bench.executor.engines.get(bench.ref()).engine.trainer
    monkeypatch.setattr(trainer, "_backward", lambda *_: (float("nan"), None, None, None))
    last = next(steps)
    assert last.saved is not None and step_in(last.saved) == 1
    with pytest.raises(BitLMError, match="weights were left as they were"):
        next(steps)


def test_idle_models_give_way_to_others_and_come_back(bench: Bench, data: DataPart, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 2

    def require(estimate: int, what: str) -> None:
        if len(bench.executor.engines) >= room:
            raise ResourceLimitError("full", estimate=estimate, limit=0)

    bench.create("a")
    steps = bench.executor.execute(bench.training(data, steps=100, model_id="a"))
    next(steps)
    monkeypatch.setattr(engines, "require_memory", require)
    bench.create("b")
    bench.create("c")  # b is idle and saved; a is neither
    assert sorted(bench.executor.engines._entries) == ["a", "c"]
    loaded, _ = bench.run(Load(model=bench.ref("b"), checkpoint="b"))
    assert isinstance(loaded, Loaded) and sorted(bench.executor.engines._entries) == ["a", "b"]
    room = 1
    with pytest.raises(ResourceLimitError):
        bench.create("d")
    assert sorted(bench.executor.engines._entries) == ["a"]


def test_another_incarnation_is_read_again(bench: Bench) -> None:
    bench.create()
    first = bench.executor.engines.get(bench.ref())
    assert bench.executor.engines.get(bench.ref()) is first
    assert bench.executor.engines.get(bench.ref(incarnation=2)) is not first
    bench.run(Drop(model_id="m"))
    assert len(bench.executor.engines) == 0


def test_fresh_and_saved_models_compute_where_the_executor_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    class Noting(bitlm_core.Engine):
        def __init__(self, config: bitlm_core.EngineConfig, device: str = "none") -> None:
            devices.append(device)
            super().__init__(config)

    monkeypatch.setattr(bitlm_core, "Engine", Noting)
    bench.executor = Executor("cuda")
    bench.create()
    bench.run(Load(model=bench.ref(), checkpoint="c"))
    assert devices == ["cuda", "cuda"]


@pytest.mark.parametrize(
    "change", [{"history": 5}, {"history": [{"step": 1}]}, {"config": {"model": {"d_model": 7}}}, {"config": []}]
)
def test_a_header_that_is_none_of_ours_is_refused(bench: Bench, change: dict[str, Any]) -> None:
    path = bench.create().path
    tensors, header = bitlm_core.read_file(path, "state")
    bitlm_core.write_file(path, tensors, header | change)
    with pytest.raises(CheckpointCorruptError, match="'c'"):
        bench.run(Load(model=bench.ref(), checkpoint="c"))
