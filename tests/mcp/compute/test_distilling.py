"""Distill on the compute side: stopped at any safe point it leaves nothing but the teacher, bit for bit as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import bitlm_core
from bitlm_core import DistillConfig, ResourceLimitError, TrainingConfig, bytes_in_memory, student_config, target_config
from bitlm_mcp.compute import engines
from bitlm_mcp.compute.answers import Distilled
from bitlm_mcp.compute.commands import Create, Distill, Train
from bitlm_mcp.compute.executor import Executor, Stopped
from bitlm_mcp.compute.messages import DataPart, ModelRef
from tests.mcp.workspaces import TEXT, config

LITTLE = {"looked_at": 2, "num_clusters": 2}


class Bench:
    """An executor with a teacher that has learned a little."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.executor = folder, Executor()
        (folder / "data").write_bytes(TEXT)
        self.data = DataPart(path=folder / "data", start=0, end=1500, digest=bytes_in_memory(TEXT).digest)
        created = self.run(Create(model_id="m", incarnation=1, config=config(), save_to=folder))
        self.teacher = ModelRef(model_id="m", incarnation=1, state=created.saved.path)
        training = TrainingConfig(batch_size=2, warmup_steps=1)
        plan = bitlm_core.TrainingPlan(steps=4)
        known: dict[str, Any] = {"model": self.teacher, "data": self.data, "plan": plan, "training": training}
        trained = self.run(Train(job_id="job-1", autosave_s=1000, save_to=folder, **known))
        self.teacher = self.teacher.model_copy(update={"state": trained.saved.path})

    def run(self, command: Any) -> Any:
        steps = self.executor.execute(command)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value

    def distill(self, **fields: Any) -> Distill:
        teacher = self.executor.engines.get(self.teacher).engine.config
        student = student_config(teacher, target_config(teacher.model, d_model=16, ngram_rows=16))
        return Distill(
            model=self.teacher,
            student_id="s",
            incarnation=2,
            data=self.data,
            held_out=self.data.model_copy(update={"start": 1500, "end": len(TEXT)}),
            config=student,
            settings=DistillConfig(**{"steps": 2, "max_rounds": 2, "min_gain": 1.0, **LITTLE, **fields}),
            save_to=self.folder,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        tensors, _ = self.executor.engines.get(self.teacher).engine.state()
        return {name: value.clone() for name, value in tensors.items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("states"))


def test_a_student_is_saved_and_in_memory_when_it_is_done(bench: Bench) -> None:
    before, files = bench.tensors(), set(bench.folder.iterdir())
    answer = bench.run(bench.distill())
    assert isinstance(answer, Distilled)
    assert set(bench.folder.iterdir()) - files == {answer.saved.path}
    best = answer.metrics["rounds"][answer.metrics["best"]]
    assert answer.saved.facts.step == 2 and answer.saved.facts.config.model.d_model == best["d_model"]
    assert [point.step for point in answer.history] == [1, 2] and len(answer.metrics["rounds"]) == 2
    student = ModelRef(model_id="s", incarnation=2, state=answer.saved.path)
    held = bench.executor.engines.get(student).engine
    read = bench.executor.engines.read(student, "s").engine
    assert held.num_parameters == read.num_parameters == best["num_parameters"]
    assert all(torch.equal(value, before[name]) for name, value in bench.tensors().items())
    bench.executor.engines.drop("s")
    answer.saved.path.unlink()


def test_stopped_at_any_safe_point_nothing_is_left_of_it_and_the_teacher_is_as_it_was(bench: Bench) -> None:
    before, files = bench.tensors(), sorted(bench.folder.iterdir())
    points, ended = 0, False
    while not ended:
        steps = bench.executor.execute(bench.distill(max_rounds=1, steps=1))
        try:
            for _ in range(points + 1):
                next(steps)
        except StopIteration as stop:
            ended = True
            stop.value.saved.path.unlink()
            bench.executor.engines.drop("s")
            continue
        with pytest.raises(Stopped):
            steps.throw(Stopped)
        points += 1
        assert sorted(bench.folder.iterdir()) == files
        assert len(bench.executor.engines) == 1
        assert all(torch.equal(value, before[name]) for name, value in bench.tensors().items())
    assert points >= 5  # beliefs, medoids, a step, looks


def test_memory_is_asked_for_before_anything_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(estimate: int, what: str) -> None:
        asked.append(estimate)
        raise ResourceLimitError(f"{what}: too much", estimate=estimate, limit=0)

    command = bench.distill()
    monkeypatch.setattr(engines, "require_memory", refuse)
    monkeypatch.setattr(bitlm_core, "distill_steps", None)
    with pytest.raises(ResourceLimitError, match="distilling 'm': too much"):
        bench.run(command)
    teacher = bench.executor.engines.get(bench.teacher).engine.config
    assert asked == [bitlm_core.estimate_distill_bytes(teacher, command.config, command.settings, 1500)]
