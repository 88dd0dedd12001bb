"""The command line: what it takes from the environment, and how it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bitlm_mcp import cli
from bitlm_mcp.dashboard.live import Live
from bitlm_mcp.settings import ServerSettings
from tests.mcp.command_line import invoked


def test_the_state_lives_where_the_convention_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cli.default_state_dir() == tmp_path / "bitlm"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert cli.default_state_dir() == Path.home() / ".local" / "state" / "bitlm"


def test_a_server_started_in_the_root_or_at_home_reads_nothing_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli._implicit_roots() == [tmp_path]
    for everything in (Path("/"), Path.home()):
        monkeypatch.chdir(everything)
        assert cli._implicit_roots() == []


def test_what_torch_compiles_stays_in_the_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(cli, "_serve_stdio", lambda settings: None)
    assert CliRunner().invoke(cli.app, ["serve", "--state-dir", str(tmp_path)]).exit_code == 0
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR")


def test_open_pages_are_told_that_the_server_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(cli, "run_http", lambda app, settings, **hooks: given.update(hooks))
    cli._serve_http(ServerSettings(state_dir=tmp_path))
    told: list[Live] = []
    monkeypatch.setattr(Live, "stop", lambda live: told.append(live))
    given["on_leave"]()
    assert len(told) == 1
    given["on_stop"]()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--allow-dir", "", "it is empty: "),
        ("--state-dir", " ", "it is empty: "),
        ("--allow-dir", "/none", "bitlm: --allow-dir: /none is not a directory"),
        ("--trusted-proxy", "x", "bitlm: --trusted-proxy: 'x' is no address or network"),
        ("--oauth-issuer", "x", "--oauth-issuer and --oauth-resource belong together"),
    ],
)
def test_what_a_server_cannot_start_with_is_told_by_its_option(option: str, value: str, said: str) -> None:
    found = invoked("serve", option, value)
    assert found.exit_code == 2 and said in " ".join(found.stderr.split())
