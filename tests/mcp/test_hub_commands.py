"""`bitlm push` and `bitlm pull`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import TOKEN, FakeHub, fake_hub

from bitlm_core import CheckpointStore, Engine, read_file, write_file
from bitlm_mcp import cli
from bitlm_mcp.compute.transfers import in_use, sweep
from bitlm_mcp.settings import HubSettings
from tests.mcp.command_line import done, invoked, refused
from tests.mcp.workspaces import config

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # see tests/core/hub


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def here(tmp_path: Path) -> Path:
    engine = Engine(config(seed=7))
    store = CheckpointStore(tmp_path / "here" / "checkpoints")
    store.save("one", lambda path: write_file(path, *engine.state()), step=0, summary={}, overwrite=False)
    return tmp_path / "here"


def test_a_checkpoint_goes_there_and_comes_back(remote: FakeHub, here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    pushed = json.loads(done("push", "one", "me/bits", "--state-dir", here, "--json"))
    assert pushed["commit"] == remote.repos["me/bits"].head and remote.repos["me/bits"].private
    told = done("pull", "me/bits", "came", "--state-dir", there)
    assert pushed["commit"] in told and TOKEN not in told
    store = CheckpointStore(there / "checkpoints")
    assert store.info("came").summary["pulled_from"] == f"me/bits@{pushed['commit']}"
    assert Engine.from_state(*read_file(store.verified_path("came"), "came")).config.seed == 7
    assert "exists already" in refused("pull", "me/bits", "came", "--state-dir", there)
    done("pull", "me/bits", "came", "--state-dir", there, "--force", "--revision", pushed["commit"])
    assert list((there / "hub").iterdir()) == []


def test_what_fits_into_no_memory_is_refused_before_it_is_loaded(remote: FakeHub, here: Path) -> None:
    large = config(d_model=8192, nhead=64, num_layers=128).model_dump(mode="json")
    store = CheckpointStore(here / "checkpoints")
    header = {"config": large, "step": 0}
    store.save("two", lambda path: write_file(path, {"x": torch.zeros(1)}, header), step=0, summary={}, overwrite=False)
    done("push", "two", "me/bits", "--state-dir", here)
    assert "would need about" in refused("pull", "me/bits", "came", "--state-dir", here)
    assert store.names() == ["one", "two"] and list((here / "hub").iterdir()) == []


def test_what_a_command_has_on_its_way_no_server_sweeps(tmp_path: Path) -> None:
    with in_use(tmp_path) as folder:
        (folder / ".pulling").touch()
        sweep(tmp_path)
        assert list(folder.iterdir())
    sweep(tmp_path)
    assert not list(folder.iterdir())


def test_a_server_reads_the_token_only_where_it_offers_the_hub(
    remote: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[HubSettings] = []
    monkeypatch.setattr(cli, "_serve_stdio", lambda settings: found.append(settings.hub))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "set")
    for chosen in ((), ("--toolsets", "hub"), ("--tools", "pull_checkpoint")):
        done("serve", "--state-dir", tmp_path, *chosen)
    assert [each.token and each.token.get_secret_value() for each in found] == [None, TOKEN, TOKEN]
    assert found[1].endpoint == remote.endpoint
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    done("serve", "--state-dir", tmp_path)
    refusal = invoked("serve", "--state-dir", tmp_path, "--toolsets", "all")
    assert refusal.exit_code == 2 and "--hub-endpoint: the hub's address is no https URL" in refusal.stderr
    assert TOKEN not in refusal.output


def test_what_cannot_be_is_one_line(remote: FakeHub, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no checkpoint 'none'" in refused("push", "none", "me/bits", "--state-dir", here)
    assert "offline" in refused("push", "one", "me/bits", "--state-dir", here, "--hub-offline")
    assert "https URL" in refused("pull", "me/bits", "x", "--hub-endpoint", "http://hub.example", "--state-dir", here)
    remote.repos.clear()
    assert "shows nobody" in refused("pull", "me/bits", "x", "--state-dir", here)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline" in refused("pull", "me/bits", "x", "--state-dir", here)


def test_no_setting_of_the_library_gets_in_the_way(remote: FakeHub, here: Path, tmp_path: Path) -> None:
    """Neither a token file, nor switches of its own, nor that it was imported first; and it leaves nothing in its folder."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text(TOKEN)
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": remote.endpoint}
    for name in ("TELEMETRY", "XET", "PROGRESS_BARS", "IMPLICIT_TOKEN"):
        settings[f"HF_HUB_DISABLE_{name}"] = "0"
    code = "import huggingface_hub.hf_api, sys; from bitlm_mcp.cli import main; main()"

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments, "--state-dir", str(here), "--json"]
        plain = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        return subprocess.run(command, capture_output=True, text=True, env=plain | settings | more)

    found = run("push", "one", "me/bits", HF_TOKEN=TOKEN)
    assert found.returncode == 0 and found.stderr == "" and found.stdout.count("\n") == 1, found
    without = run("pull", "me/bits", "came")
    assert without.returncode == 1 and "without a token" in without.stderr and not remote.seen[-1][2]
    assert [path.name for path in home.iterdir()] == ["token"]
    assert remote.count("GET", "agent-harnesses") == 0
