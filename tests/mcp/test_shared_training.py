"""`bitlm train` with several processes: launched here, or by a torchrun that somebody else has started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlm_core import ConfigError, Engine, TrainingConfig, TrainingPlan, read_file
from bitlm_mcp.compute import commands, launch
from bitlm_mcp.compute.answers import Written
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Ended, Event, Progress
from bitlm_mcp.compute.messages import DataPart, ModelRef
from bitlm_mcp.compute.processes import Processes
from bitlm_mcp.compute.stopping import Stopped
from bitlm_mcp.compute.training import write_state
from bitlm_mcp.options import started_by_torchrun
from bitlm_mcp.shared_training import _followed, taken_part
from bitlm_mcp.train_targets import Target, target_of
from tests.mcp.command_line import invoked, refused
from tests.mcp.workspaces import TEXT, config

DUMMY = Path(__file__).parent / "fixtures" / "dummy_torchrun.py"
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "t"}


def trained(folder: Path) -> Any:
    """A state after three steps, as a leader would write it."""
    entry = Entry(Engine(config()), 0)
    entry.engine.step, entry.engine.plan = 3, TrainingPlan(steps=3, steps_done=3)
    return write_state(entry, folder, {})


def test_what_the_leader_has_saved_last_is_what_comes_of_it(
    file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Event] = [
        Progress(share=0.0, alerts=("a worker was lost",)),
        Ended(status="completed", answer=Written(saved=trained(tmp_path))),
    ]
    script = tmp_path / "script"
    script.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    monkeypatch.setattr(launch, "TORCHRUN", (sys.executable, "-S", str(DUMMY), str(script)))
    out = tmp_path / "made"
    found = invoked("train", file, "--model", model, "--steps", 3, "--nproc", 2, "--device", "cpu", "--out", out, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["step"] == 3 and "a worker was lost" in found.stderr
    assert Engine.from_state(*read_file(out, "made")).step == 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"text", "model", "script", "made"}


def test_processes_that_are_lost_end_with_one_line(
    file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TORCHRUN", ("false",))
    asked = ("train", file, "--model", model, "--steps", 3, "--device", "cpu", "--out", tmp_path / "o")
    assert "the training was given up" in refused(*asked, "--nproc", 2)
    assert "'here' is no HOST:PORT" in refused(*asked, "--nodes", 2, "--rdzv-endpoint", "here")
    assert "belong together" in refused(*asked, "--nodes", 2) and "give --nproc 2" in refused(*asked, "--parallel", "fsdp")
    assert "progressive=true is for one process" in refused(*asked, "--nproc", 2, "--progressive")
    assert {path.name for path in tmp_path.iterdir()} == {"text", "model"}


def made(folder: Path) -> Target:
    """Where a training puts what it makes."""
    return target_of(None, folder / "made", folder, force=False)


def test_ctrl_c_comes_while_the_others_work(tmp_path: Path) -> None:
    asked, told, first = list[int](), list[Progress](), Progress(share=0.1, steps_done=1, saved=trained(tmp_path))

    def steps() -> Generator[Progress, None, Any]:
        yield first
        yield first
        asked.append(2)
        yield Progress(share=0.5, steps_done=3)
        raise AssertionError("it goes on")

    _followed(steps(), asked, made(tmp_path), told.append)
    assert Engine.from_state(*read_file(tmp_path / "made", "made")).step == 3
    assert [progress.share for progress in told] == [0.1, 0.5] and len(list(tmp_path.iterdir())) == 1


def test_a_stop_before_anything_was_learned_saves_nothing(tmp_path: Path) -> None:
    def steps() -> Generator[Progress, None, Any]:
        yield Progress(share=0.0)

    with pytest.raises(ConfigError, match="nothing is saved"):
        _followed(steps(), [2], made(tmp_path), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_kept_is_told_and_ends_only_a_training_that_is_being_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").write_text("of somebody else")
    told = [Progress(share=0.1, steps_done=1, saved=trained(tmp_path)) for _ in range(2)]

    def steps() -> Generator[Progress, None, Any]:
        yield told[0]
        asked.append(2)
        try:
            yield Progress(share=0.5, steps_done=3)
        except Stopped:
            yield told[1]

    asked = list[int]()
    with pytest.raises(ConfigError, match="exists already"):
        _followed(steps(), asked, made(tmp_path), lambda _: None)
    assert "not saved: " in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("made", "of somebody else")]


def test_a_process_that_torchrun_has_started_takes_part(
    file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (TORCHRUN | {"WORLD_SIZE": "2"}).items():
        monkeypatch.setenv(name, value)
    asked = ("train", file, "--model", model, "--steps", 3, "--out", tmp_path / "o")
    assert "torchrun has started 2 processes already" in refused(*asked, "--nproc", 2)
    assert started_by_torchrun(TORCHRUN) == 1 and started_by_torchrun({"WORLD_SIZE": "2"}) is None
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert json.loads(invoked(*asked, "--json").stdout)["step"] == 3
    assert "exists already" in refused(*asked)


def test_the_one_that_leads_goes_on_where_others_were_lost(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (TORCHRUN | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}).items():
        monkeypatch.setenv(name, value)
    processes = Processes(nproc=1, folder=tmp_path / "run", device="cpu", shards_every_s=1e-9)
    target = target_of(None, tmp_path / "made", tmp_path, force=True)
    data = DataPart(path=file, start=0, end=len(TEXT), digest="text")
    command = commands.Train(
        model=ModelRef(model_id="m", incarnation=0, state=file),
        job_id="",
        data=data,
        plan=TrainingPlan(steps=4),
        training=TrainingConfig(batch_size=2),
        autosave_s=1e9,
        save_to=tmp_path,
        processes=processes,
    )

    def lost(progress: Progress) -> None:
        if progress.steps_done == 3:
            raise RuntimeError("connection lost")

    def one_that_is_lost() -> None:
        with pytest.raises(RuntimeError, match="connection lost"):
            taken_part(Entry(Engine(config()), 0), command, processes, target, lost)

    for seed, steps in ((0, 1), (1, 4)):
        one_that_is_lost()
        other = command.model_copy(update={"plan": TrainingPlan(steps=steps)})
        fresh = taken_part(Entry(Engine(config(seed=seed)), 0), other, processes, target, lambda _: None)
        assert fresh is not None and fresh.history.alerts == ()
        assert (fresh.engine.step, fresh.engine.config.seed) == (steps, seed)
    one_that_is_lost()
    shares: list[float] = []
    whole = taken_part(Entry(Engine(config()), 0), command, processes, target, lambda progress: shares.append(progress.share))
    assert whole is not None and whole.engine.step == 4 and shares[0] == 0.5 and not (tmp_path / "run").exists()
    assert [point.step for point in whole.history.points] == [1, 2, 3, 4]
    stop = processes.run.stop
    stopped = taken_part(
        Entry(Engine(config()), 0), command, processes, target, lambda progress: progress.steps_done == 2 and stop.touch()
    )
    assert stopped is not None and Engine.from_state(*read_file(target.file, "made")).step == 2
    assert {path.name for path in tmp_path.iterdir()} == {"text", "made"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_line_for_many_machines_trains_what_one_process_does(file: Path, model: Path, tmp_path: Path) -> None:
    """As a Slurm script has it, with two of its machines here."""
    asked = ["train", str(file), "--model", str(model), "--steps", "4", "--batch-size", "4", "--json", "--out"]
    environment = dict(os.environ) | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    line += ["--rdzv-endpoint", "localhost:29517", "--rdzv-id", "test", "--local-addr", "127.0.0.1", "-m", "bitlm_mcp"]
    both = [
        subprocess.Popen([*line, *asked, str(tmp_path / "two"), "--parallel", "fsdp"], stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0] and sorted(map(bool, said)) == [False, True]
    told = json.loads("".join(said))
    alone = json.loads(invoked(*asked, tmp_path / "one").stdout)
    assert told["step"] == 4 and told["bits_per_byte"] == pytest.approx(alone["bits_per_byte"], rel=1e-5)
    two, one = (read_file(tmp_path / name, name)[0] for name in ("two", "one"))
    assert two.keys() == one.keys() and all(
        torch.isfinite(tensor).all() for tensor in two.values() if tensor.is_floating_point()
    )
