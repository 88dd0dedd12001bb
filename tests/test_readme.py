"""The README tells the truth: its commands, tools, files and folders exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

import bitlm_core
from bitlm_core.models.config import ModelConfig
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.cli import app, bench
from bitlm_mcp.host_entries import Host
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.mcp.command_line import done

ROOT = Path(__file__).parents[1]
HOSTS = [["config", host] for host in get_args(Host)]
README = (ROOT / "README.md").read_text()


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE))
    assert targets - {"clean"} == named


def test_it_names_every_tool_and_no_other(tmp_path: Path) -> None:
    table = README[README.index("| tool |") : README.index("Resources:")]
    first_column = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    tools = {spec.tool_name for spec in all_tools(Workspace(ServerSettings(state_dir=tmp_path)))}
    assert set(re.findall(r"`(\w+)`", first_column)) == tools


def test_its_rooms_are_those_of_the_tree() -> None:
    tree = README[README.index("bitlm_core/  ") : README.index("bitlm_mcp/   ")]
    named = set(re.findall(r"\b([a-z_]+)/ ", tree)) - {"bitlm_core"}
    rooms = {path.name for path in (ROOT / "bitlm_core").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert named == rooms


def test_every_room_of_the_server_is_named_where_the_readme_sends_people() -> None:
    about = (ROOT / "bitlm_mcp" / "__init__.py").read_text()
    rooms = {path.stem for path in (ROOT / "bitlm_mcp").glob("*.py")} | {
        path.name for path in (ROOT / "bitlm_mcp").iterdir() if path.is_dir()
    }
    unnamed = {name for name in rooms if not name.startswith("_") and not re.search(rf"\b{name}\b", about)}
    assert not unnamed


def test_the_files_it_names_exist() -> None:
    for name in set(re.findall(r"`((?:tests|examples)/[\w./]+)`", README)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("command", [["serve", "--help"], ["demo", "--help"], ["bench", "--help"], ["--version"], *HOSTS])
def test_its_commands_answer(command: list[str]) -> None:
    assert done(*command)


def test_options_it_names_are_real() -> None:
    waiting, told = [get_command(app)], set[str]()
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        told |= {name for parameter in command.params for name in parameter.opts}
    named = set(re.findall(r"--[a-z][a-z-]+", README)) - {"--strict"}
    assert len(named) > 20 and not named - told


def test_the_benchmarks_it_names_are_those_there_are() -> None:
    named = re.search(r"bitlm bench ([a-z]+\|[a-z|]+)", README)
    assert named and set(named[1].split("|")) == {
        command.name or command.callback.__name__ for command in bench.registered_commands if command.callback
    }


def test_it_tells_every_form_of_the_network() -> None:
    table = README[README.index("| form |") : README.index("## Long inputs")]
    told = set(re.findall(r"`(\w+)", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))))
    sizes = {"architecture", "d_model", "nhead", "num_layers", "dim_feedforward", "max_seq_len", "dropout"}
    assert told - {"use_act"} == ModelConfig.model_fields.keys() - sizes


def test_what_it_says_for_the_names_of_another_system_runs(tmp_path: Path) -> None:
    section = README[README.index("## Names that BitTransformerLM had") : README.index("## The tree")]
    rows = [line.split("|")[2].strip() for line in section.splitlines() if line.startswith("|")][2:]
    names: dict[str, object] = {"bitlm": bitlm_core, "path": tmp_path / "model"}
    for snippet in (re.match(r"`([^`]+)`", row) for row in rows):
        assert snippet is not None, rows
        exec(snippet[1], names)  # noqa: S102 - our own lines
    assert len(rows) > 25 and names["text"] == "again and again " and names["corrected"] == 0
    assert isinstance(names["engine"], bitlm_core.Engine) and names["engine"].step > 5
