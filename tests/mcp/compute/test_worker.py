"""A worker of a training that several processes share, here the only one: what it tells, keeps, and goes on from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bitlm_core import Engine, ModelStateError, TrainingConfig, TrainingPlan, bytes_in_memory, read_file, write_file
from bitlm_mcp.compute import commands, worker
from bitlm_mcp.compute.answers import Written
from bitlm_mcp.compute.events import Ended, Progress
from bitlm_mcp.compute.messages import DataPart, ModelRef
from bitlm_mcp.compute.points import point_of
from bitlm_mcp.compute.processes import EventReader, EventWriter, Processes, RunFiles
from bitlm_mcp.history import History
from tests.mcp.workspaces import TEXT, config

STEPS = 8
TRAINING = TrainingConfig(batch_size=2, telemetry_every=2)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts the only process there is."""
    told = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    """A run of STEPS steps that is about to begin."""
    (tmp_path / "data").write_bytes(TEXT)
    files = RunFiles(tmp_path / "run")
    files.folder.mkdir()
    write_file(files.start, *_with_record(Engine(config(mixing=True))))
    command = commands.Train(
        model=ModelRef(model_id="m", incarnation=1, state=files.start),
        job_id="job-1",
        data=DataPart(path=tmp_path / "data", start=0, end=len(TEXT), digest=bytes_in_memory(TEXT).digest),
        plan=TrainingPlan(steps=STEPS),
        training=TRAINING,
        autosave_s=1e9,
        save_to=tmp_path,
        processes=Processes(nproc=1, folder=files.folder, device="cpu", threads=1, shards_every_s=1e-9),
    )
    files.command.write_text(command.model_dump_json())
    return files


def _with_record(engine: Engine) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    tensors, header = engine.state()
    return tensors, header | History().plain()


def straight() -> dict[str, torch.Tensor]:
    engine = Engine(config(mixing=True))
    engine.set_training(TRAINING)
    for _ in engine.train_steps(bytes_in_memory(TEXT), TrainingPlan(steps=STEPS)):
        pass
    return engine.state()[0]


def steps_told(run: RunFiles) -> list[int]:
    return [event.point.step for event in run.told() if isinstance(event, Progress) and event.point]


def saved(run: RunFiles) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    *_, last = run.told()
    assert isinstance(last, Ended) and isinstance(last.answer, Written)
    return read_file(last.answer.saved.path, "m")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def failing_at(step: int, error: Exception) -> Callable[..., object]:
    """In the place of `point_of`: a fault in the middle of a training."""

    def failing(report: object, seconds: float) -> object:
        if getattr(report, "step", None) == step:
            raise error
        return point_of(report, seconds)  # type: ignore[arg-type]

    return failing


def test_who_starts_again_goes_on_as_if_nothing_had_been(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="connection lost"):
        broken.setattr("bitlm_mcp.compute.training.point_of", failing_at(6, RuntimeError("connection lost")))
        worker.work(run.command, with_launcher=False)
    assert steps_told(run) == [1, 2, 3, 4, 5] and not any(isinstance(event, Ended) for event in run.told())
    worker.work(run.command, with_launcher=False)
    again = next(event for event in run.told() if isinstance(event, Progress) and event.alerts)
    assert again.alerts == ("a worker was lost: all were started again, and go on from step 5",)
    assert (again.steps_done, again.steps_total) == (5, STEPS) and steps_told(run) == [1, 2, 3, 4, 5, 6, 7, 8]
    tensors, header = saved(run)
    assert equal(tensors, straight()) and header["alerts"] == list(again.alerts) and header["trained_by"] == "job-1"
    assert [point["step"] for point in header["history"]] == list(range(1, STEPS + 1))  # type: ignore[attr-defined]


def test_a_step_that_cannot_be_made_is_told_and_ends_well(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_mcp.compute.training.point_of", failing_at(4, ModelStateError("the loss is nan")))
    worker.work(run.command, with_launcher=False)
    *_, kept, ended = run.told()
    assert isinstance(kept, Progress) and kept.saved is not None and kept.saved.facts.step == 4
    assert isinstance(ended, Ended) and ended.failure is not None and ended.failure.message == "the loss is nan"


def test_full_memory_is_told_for_to_start_again_would_be_in_vain(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_mcp.compute.training.point_of", failing_at(1, RuntimeError("CUDA out of memory")))
    with pytest.raises(RuntimeError):
        worker.work(run.command, with_launcher=False)
    *_, ended = run.told()
    assert isinstance(ended, Ended) and ended.failure is not None and ended.failure.kind == "ResourceLimitError"


def test_it_stops_at_the_next_step_and_saves(run: RunFiles) -> None:
    run.stop.touch()
    worker.work(run.command, with_launcher=False)
    *_, kept, ended = run.told()
    assert steps_told(run) == [1] and isinstance(kept, Progress) and kept.saved is not None
    assert kept.saved.facts.step == 1 and ended == Ended(status="cancelled")


def test_a_disk_that_refuses_a_sharded_checkpoint_ends_nothing(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem.FileSystemWriter.write_data", full)
    worker.work(run.command, with_launcher=False)
    alerts = [event.alerts for event in run.told() if isinstance(event, Progress) and event.alerts]
    assert len(alerts) == STEPS and "No space left on device" in alerts[0][0] and equal(saved(run)[0], straight())


def test_events_that_were_torn_were_told_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "events"
    reader = EventReader(path)
    assert reader.new() == []
    first, second = Progress(share=0.25), Progress(share=0.5)
    EventWriter(path).tell(first)
    whole = path.read_bytes()
    path.write_bytes(whole + second.model_dump_json().encode()[:20])
    assert reader.new() == [first]
    EventWriter(path).tell(second)
    assert reader.new() == [second] and reader.new() == []


WATCH = "from bitlm_mcp.compute.worker import _end_with_stdin; print('ready', flush=True); _end_with_stdin()"
STARTS = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {WATCH!r}]); time.sleep(600)"


@pytest.mark.parametrize(("program", "code"), [(STARTS, -9), (WATCH, 1)])
def test_it_ends_with_its_launcher_and_takes_along_who_has_the_same_stdin_alone(program: str, code: int) -> None:
    launched = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert launched.stdin and launched.stdout and launched.stdout.readline() == b"ready\n"
    launched.stdin.close()
    assert launched.wait(60) == code and launched.stdout.read() == b""  # which ends when the last of both does
    launched.stdout.close()
