"""`bitlm sample`: what the engine itself would draw, on stdout or in a file, and one line for what cannot be."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from bitlm_core import (
    DiffusionSampling,
    Engine,
    EngineConfig,
    MixingConfig,
    SamplingConfig,
    Template,
    TrainingPlan,
    bytes_in_memory,
    finished,
    preset_config,
    read_file,
    write_file,
)
from tests.mcp.command_line import invoked, refused
from tests.mcp.workspaces import TEXT, config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte network that has learned a little, both ways."""
    engine = Engine(config())
    assert list(engine.train_steps(bytes_in_memory(TEXT), TrainingPlan(steps=2, objective="mixed")))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_file(path, *engine.state())
    return path


def test_a_prompt_is_continued_as_the_engine_does(model: Path, tmp_path: Path) -> None:
    engine = Engine.from_state(*read_file(model, "model"))
    wanted = finished(engine.infer_steps(b"the quick", 70, SamplingConfig(seed=3, temperature=0.8)))[0]
    asked = ("sample", model, "--num-bytes", 70, "--seed", 3, "--temperature", 0.8, "--safety", "off")
    assert invoked(*asked, "--prompt", "the quick").stdout_bytes == wanted.data
    (tmp_path / "prompt").write_bytes(b"the quick")
    found = invoked(*asked, "--prompt-file", tmp_path / "prompt", "--json", "--out", tmp_path / "out")
    told = json.loads(found.stdout)
    assert base64.b64decode(told["data_base64"]) == (tmp_path / "out").read_bytes() == wanted.data
    assert told["bits_per_byte"] == pytest.approx(wanted.bits_per_byte) and told["verdict"] is None and told["model_step"] == 2
    assert "exists already" in refused(*asked, "--prompt", "x", "--out", tmp_path / "out")


def test_gaps_are_filled_as_the_engine_does(model: Path) -> None:
    engine = Engine.from_state(*read_file(model, "model"))
    template = Template.marked(b"the ##### fox", b"#", prefix=b"so ")
    wanted = finished(engine.diffusion_sample_steps(template, DiffusionSampling(steps=3, seed=5, order="random"), "off"))[0]
    asked = ("sample", model, "--prefix", "so ", "--seed", 5, "--steps", 3, "--order", "random")
    assert invoked(*asked, "--template", "the ##### fox", "--gap", "#").stdout_bytes == wanted.data
    told = json.loads(invoked(*asked, "--gap-bytes", 6, "--suffix", " fox", "--json").stdout)
    assert (told["num_bytes"], told["steps"], told["order"]) == (6, 3, "random") and "text" in told


def test_the_gate_warns_or_withholds(model: Path) -> None:
    collapsed = ("sample", model, "--prompt", "the", "--temperature", 0, "--num-bytes", 80)
    warned = invoked(*collapsed)
    assert warned.exit_code == 0 and len(warned.stdout_bytes) == 80 and warned.stderr.startswith("bitlm: C 0.")
    withheld = refused(*collapsed, "--safety", "strict", "--attempts", 2)
    assert "withheld after as asked, another seed (skipped: at temperature 0" in withheld


def test_what_does_not_go_together_is_refused(model: Path, tmp_path: Path) -> None:
    some = ("sample", model, "--prompt", "a")
    assert "none was given, and exactly one of --prompt, --prompt-file, --template" in refused("sample", model)
    assert "--prompt, --template was given" in refused(*some, "--template", "_")
    assert "--steps, --remask has no meaning beside --prompt" in refused(*some, "--steps", 3, "--remask", 0.1)
    assert "--top-p has no meaning beside --gap-bytes" in refused("sample", model, "--gap-bytes", 3, "--top-p", 0.9)
    assert "--gap marks the gaps of a template" in refused("sample", model, "--gap-bytes", 3, "--gap", "#")
    assert "top_p=0.0" in refused(*some, "--top-p", 0) and "temperature=nan" in refused(*some, "--temperature", "nan")
    assert "steps=65" in refused("sample", model, "--gap-bytes", 3, "--steps", 65)
    assert "neither order nor remask" in refused("sample", model, "--gap-bytes", 3, "--method", "flip", "--order", "random")
    assert "holds no '_'" in refused("sample", model, "--template", "whole")
    assert "attempts=9 is not between" in refused(*some, "--attempts", 9)
    assert "--attempts 2 needs a gate" in refused(*some, "--attempts", 2, "--safety", "off")
    assert "no file, checkpoint or model 'x'" in refused("sample", "x", "--prompt", "a", "--state-dir", tmp_path)
    assert "No such file" in refused("sample", model, "--prompt-file", tmp_path / "none")


def test_a_mixer_alone_continues_and_cannot_fill(tmp_path: Path) -> None:
    engine = Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8)))
    assert list(engine.train_steps(bytes_in_memory(TEXT), TrainingPlan(steps=1)))
    write_file(tmp_path / "mix", *engine.state())
    found = invoked("sample", tmp_path / "mix", "--prompt", "the quick ", "--num-bytes", 9, "--temperature", 0)
    assert found.stdout == "brown fox"
    assert "has no network, which diffusion_sample needs" in refused("sample", tmp_path / "mix", "--gap-bytes", 3)
