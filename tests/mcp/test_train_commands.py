"""`bitlm train`: a checkpoint that a server loads, or a file; and one line for what cannot be."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from bitlm_core import (
    CheckpointStore,
    Engine,
    EngineConfig,
    ProgressiveConfig,
    StepReport,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
    read_file,
    write_file,
)
from bitlm_mcp.compute.points import point_of
from bitlm_mcp.operations.models import load
from bitlm_mcp.snapshot import HistoryPoint
from bitlm_mcp.train_targets import target_of
from tests.mcp.command_line import invoked, refused
from tests.mcp.workspaces import TEXT, config, server


def test_a_file_is_learned_as_the_engine_would(file: Path, model: Path, tmp_path: Path) -> None:
    how = ("--steps", 3, "--batch-size", 2, "--holdout-fraction", 0.5, "--device", "cpu", "--json")
    asked = ("train", file, "--model", model, *how)
    told = json.loads(invoked(*asked, "--out", tmp_path / "made").stdout)
    made = Engine.from_state(*read_file(tmp_path / "made", "made"))
    twin = Engine(config())
    twin.set_training(twin.config.training.model_copy(update={"batch_size": 2}))
    reports = list(twin.train_steps(bytes_in_memory(TEXT[: len(TEXT) // 2]), TrainingPlan(steps=3)))
    assert (told["step"], told["saved"]) == (3, str(tmp_path / "made")) and "growths" not in told
    assert told["bits_per_byte"] == reports[-1].bits_per_byte and told["num_parameters"] == made.num_parameters
    assert "exists already" in refused(*asked, "--out", tmp_path / "made")
    assert invoked(*asked, "--out", tmp_path / "made", "--force", "--model", tmp_path / "made").exit_code == 0
    assert Engine.from_state(*read_file(tmp_path / "made", "made")).step == 6


def test_a_network_grows_and_a_server_loads_it(
    file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = functools.partial(ProgressiveConfig, window=1, patience=1, warmup_steps=2)
    monkeypatch.setattr("bitlm_mcp.tools.plans.ProgressiveConfig", soon)
    growing = ("--progressive", "--improve-threshold", 0.99, "--validate-every", 2, "--max-parameters", 10_000_000)
    found = invoked("train", file, "--model", model, "--steps", 8, *growing, "--save-as", "grown", "--state-dir", tmp_path)
    assert found.exit_code == 0, found.output
    assert "grown by layer" in found.stderr and "grown by layer" in found.stdout and "bits_per_byte_held_out" in found.stdout
    info = CheckpointStore(tmp_path / "checkpoints").verified("grown")
    assert (info.step, info.summary["model_id"]) == (8, "grown")
    left = {path.name for path in (tmp_path / "checkpoints" / "grown").iterdir()}
    assert left == {"manifest.json", f"{info.sha256}.safetensors"}  # what was saved around the growth is gone
    with server(tmp_path) as made:
        made.completed(load(made.workspace, "grown", "g", overwrite=False))
        view = made.workspace.model("g")
        assert view.step == len(view.history) == 8 and any("grown by layer" in alert for alert in view.alerts)
        assert view.num_parameters > Engine(config()).num_parameters


def test_what_cannot_be_is_refused(file: Path, model: Path, tmp_path: Path) -> None:
    asked = ("train", file, "--steps", 1, "--state-dir", tmp_path)
    assert "--save-as NAME" in refused(*asked) and "--save-as NAME" in refused(*asked, "--out", "o", "--save-as", "s")
    out = (*asked, "--out", tmp_path / "o")
    assert "--preset, --seed is of a fresh model" in refused(*out, "--model", model, "--preset", "tiny", "--seed", 1)
    assert "max_parameters belongs to progressive" in refused(*out, "--model", model, "--max-parameters", 9)
    assert "no file, checkpoint or model" in refused(*out, "--model", "none")
    assert "held-out data" in refused(*out, "--model", model, "--progressive", "--holdout-fraction", 0)
    assert "No such file" in refused("train", tmp_path / "none", "--model", model, "--out", tmp_path / "o")
    assert "is no checkpoint name" in refused(*asked, "--save-as", "../x")
    alone = EngineConfig(model=preset_config(None, "mix"))
    write_file(tmp_path / "mix", *Engine(alone.model_copy(update={"mixing": config(mixing=True).mixing})).state())
    assert "progressive=True: only networks" in refused(*out, "--model", tmp_path / "mix", "--progressive")
    assert not (tmp_path / "o").exists()


def test_a_gpu_that_is_not_there_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked = ("train", file, "--preset", "tiny", "--no-context-mixing", "--steps", 1, "--out", tmp_path / "o")
    assert "finds no CUDA device" in refused(*asked, "--device", "cuda") and not (tmp_path / "o").exists()


def test_what_is_stopped_is_saved(file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlm_mcp.compute.training.point_of", stopped)
    found = invoked("train", file, "--model", model, "--steps", 9, "--out", tmp_path / "o")
    assert found.exit_code == 0 and "stopped" in found.stderr
    assert Engine.from_state(*read_file(tmp_path / "o", "o")).step == 1


def test_what_was_saved_on_the_way_outlives_a_command_that_dies(
    file: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitlm_mcp.train_commands.AUTOSAVE_S", 0.0)
    monkeypatch.setattr("bitlm_mcp.compute.training.MAX_SAVING_SHARE", 1e9)

    def dies(report: StepReport, seconds: float) -> HistoryPoint:
        if report.step == 4:
            raise MemoryError
        return point_of(report, seconds)

    monkeypatch.setattr("bitlm_mcp.compute.training.point_of", dies)
    asked = ("train", file, "--model", model, "--steps", 9, "--out", tmp_path / "o")
    assert isinstance(invoked(*asked).exception, MemoryError)
    assert Engine.from_state(*read_file(tmp_path / "o", "o")).step == 3
    assert {path.name for path in tmp_path.iterdir()} == {"text", "model", "o"}
    assert "exists already" in refused(*asked)


def test_one_command_at_a_time_makes_a_thing(file: Path, model: Path, tmp_path: Path) -> None:
    asked = ("train", file, "--model", model, "--steps", 1, "--state-dir", tmp_path)
    for save_as, out, name in ((None, tmp_path / "o", "--out"), ("s", None, "--save-as")):
        with target_of(save_as, out, tmp_path, force=False).held():
            assert "another command is making " in refused(*asked, name, save_as or out)
        assert invoked(*asked, name, save_as or out).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"text", "model", "o", "checkpoints", "runs"}
    assert not list((tmp_path / "runs").iterdir())
