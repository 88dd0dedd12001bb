"""The README and the guide tell the truth: their commands, tools, benchmarks and names exist, and all of them are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import bitlm_core
from bitlm_core.models.config import ModelConfig
from bitlm_mcp.assembly import all_tools, offered_tools
from bitlm_mcp.cli import bench
from bitlm_mcp.guide.pages import MAX_PAGE_BYTES, pages
from bitlm_mcp.guide.table import tool_table
from bitlm_mcp.host_entries import Host
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.mcp.command_line import done, refused

ROOT = Path(__file__).parents[1]
HOSTS = [["config", host] for host in get_args(Host)]
README, CONTRIBUTING = ((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
GUIDE = {topic: page.text for topic, page in pages().items()}


def between(marker: str) -> re.Match[str]:
    """The part of the README that something else writes."""
    found = re.search(rf"(?<=<!-- {marker}:begin -->\n).*?(?=<!-- {marker}:end -->)", README, re.DOTALL)
    assert found, marker
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = Workspace(ServerSettings(state_dir=tmp_path_factory.mktemp("state")))
    yield made
    made.close()


def test_every_make_target_is_told_where_it_belongs() -> None:
    targets = set(re.findall(r"^([a-z]+(?:-[a-z]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = [set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) for text in (README, CONTRIBUTING)]
    assert told == [{"demo", "test"}, targets - {"clean"}]


def test_its_table_of_tools_is_that_of_the_program(workspace: Workspace, request: pytest.FixtureRequest) -> None:
    """After a wanted change: python -m pytest tests/test_readme.py --update-snapshots"""
    table = tool_table(all_tools(workspace), offered_tools(workspace))
    if request.config.getoption("--update-snapshots"):
        found = between("tools")
        (ROOT / "README.md").write_text(README[: found.start()] + table + README[found.end() :])
    else:
        assert between("tools")[0] == table
    assert done("tools") == table


def test_no_figure_stands_outside_the_section_that_the_report_fills() -> None:
    """Limits and bounds are none; what was measured is, and stands with its command between the markers."""
    own = README.replace(between("figures")[0], "")
    measured = r"\d[\d.,]* ?(?:%|×|[kMG]i?B\b|bits per byte|ms\b|bytes (?:per|/))|\b\d+\.\d+\b"
    assert set(re.findall(measured, own)) <= {"3.11", "127.0", "0.1", "2.0"}


def test_the_hosts_that_it_lists_are_those_that_config_knows() -> None:
    listed = re.search(r"`bitlm config HOST` prints[^(]*\(([^)]*)\)", README)
    assert listed and [name.strip() for name in listed[1].split(",")] == list(get_args(Host))


def test_it_stays_short_and_names_every_page_of_the_guide() -> None:
    assert len(README.splitlines()) <= 250
    assert GUIDE.keys() == set(re.findall(r"^\| \[.*?\]\(bitlm_mcp/guide/(\w+)\.md\)", README, re.MULTILINE))


def test_the_guide_tells_of_every_tool_and_no_other(workspace: Workspace) -> None:
    table = GUIDE["tools"][GUIDE["tools"].index("| tool |") : GUIDE["tools"].index("## Which are offered")]
    first_column = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`(\w+)`", first_column)) == {spec.tool_name for spec in all_tools(workspace)}


def test_every_room_of_the_server_is_named_where_readers_are_sent() -> None:
    about = (ROOT / "bitlm_mcp" / "__init__.py").read_text()
    rooms = {path.stem for path in (ROOT / "bitlm_mcp").glob("*.py")} | {
        path.name for path in (ROOT / "bitlm_mcp").iterdir() if path.is_dir()
    }
    unnamed = {name for name in rooms if not name.startswith("_") and not re.search(rf"\b{name}\b", about)}
    assert not unnamed


@pytest.mark.parametrize("command", [["serve", "--help"], ["demo", "--help"], ["bench", "--help"], ["--version"], *HOSTS])
def test_its_commands_answer(command: list[str]) -> None:
    assert done(*command)


def test_the_guide_in_a_shell_is_the_guide() -> None:
    assert done("guide", "training") == GUIDE["training"]
    titles = done("guide").splitlines()
    assert [line.split()[0] for line in titles] == sorted(GUIDE) and all(len(line) <= 160 for line in titles)
    assert "known: anomalies, compression" in refused("guide", "none")


def test_the_benchmarks_of_the_guide_are_those_there_are() -> None:
    named = re.findall(r"^\| `(\w+)` \|", GUIDE["measuring"], re.MULTILINE)
    there = {command.name or command.callback.__name__ for command in bench.registered_commands if command.callback}
    assert sorted(named) == sorted(there)


def test_pages_of_the_guide_are_short_and_say_what_they_are_about() -> None:
    for page in pages().values():
        assert len(page.text.encode()) <= MAX_PAGE_BYTES, page.topic
        assert page.text.startswith(f"# {page.title}\n\n") and 40 <= len(page.about) <= 140, page.topic


def test_it_tells_every_form_of_the_network() -> None:
    models = GUIDE["models"]
    table = models[models.index("| form |") : models.index("## Context mixing")]
    told = set(re.findall(r"`(\w+)", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))))
    sizes = {"architecture", "d_model", "nhead", "num_layers", "dim_feedforward", "max_seq_len", "dropout"}
    assert told - {"use_act"} == ModelConfig.model_fields.keys() - sizes


def test_what_it_says_for_the_names_of_another_system_runs(tmp_path: Path) -> None:
    section = GUIDE["python"][GUIDE["python"].index("## Names that BitTransformerLM had") :]
    rows = [line.split("|")[2].strip() for line in section.splitlines() if line.startswith("|")][2:]
    names: dict[str, object] = {"bitlm": bitlm_core, "path": tmp_path / "model"}
    for snippet in (re.match(r"`([^`]+)`", row) for row in rows):
        assert snippet is not None, rows
        exec(snippet[1], names)  # noqa: S102 - our own lines
    assert len(rows) > 25 and names["text"] == "again and again " and names["corrected"] == 0
    assert isinstance(names["engine"], bitlm_core.Engine) and names["engine"].step > 5
