"""What the documents tell people to type is taken: by the command line, by the tools' schemas, by make and by Python."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import typer
from typer.main import get_command

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.arguments import check_arguments
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.cli import app
from bitlm_mcp.schemas import StrictTool, build_tool
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.documents import ROOT, documents, of_today

MODULES = ("bitlm_", "tests.", "pytest", "venv", "build", "torch.distributed.run")
OTHERS = {"curl", "docker", "git", "pip", "sbatch", "kubectl", "nginx", "caddy", "npx", "export", "cd"}
"""Programs whose options are theirs; what is said with curl is run by tests/mcp/test_journey.py."""
PLACEHOLDER = r"'[A-Z][A-Z_/:]*'"
COMMAND = get_command(app)
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, StrictTool]]:
    workspace = Workspace(ServerSettings(state_dir=tmp_path_factory.mktemp("state")))
    yield {spec.tool_name: build_tool(spec) for spec in all_tools(workspace)}
    workspace.close()


def take(words: list[str], *, whole: bool) -> None:
    """Parse a command line after `bitlm`. `whole`: arguments may not be missing; else a command may be named alone."""
    command: Any = COMMAND
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        assert not words or words[0] in {name for parameter in command.params for name in parameter.opts} | {"--help"}, words
        return
    try:
        command.make_context(command.name, list(words))
    except typer.Exit:
        pass  # --help
    except typer.BadParameter as error:
        named_alone = not words and not whole and type(error).__name__ == "MissingParameter"
        if not named_alone and not re.search(PLACEHOLDER, error.message):
            raise


def run_words(line: str) -> list[str]:
    """The words of a line of a shell, without its comment, what it sets, and where its output goes."""
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    end = next((at for at, word in enumerate(words) if word in {"|", "&&", ">", "<", "&"}), len(words))
    return words[:end]


def check_line(line: str) -> None:
    words = run_words(line)
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/")
    if program == "bitlm":
        take(words[1:], whole=True)
    elif program == "make":
        assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), line
    elif program == "python" and words[1] != "-m":
        assert (ROOT / words[1]).is_file(), line
    elif program == "python":
        assert words[2].startswith(MODULES), line
    else:
        assert program in OTHERS | {"ruff", "mypy", "torchrun"}, line


@pytest.mark.parametrize("path", [document.path for document in of_today()])
def test_blocks_of_commands_are_taken(path: str) -> None:
    for language, text in documents()[path].blocks:
        assert language in {"", "sh", "python", "json", "toml", "text", "nginx", "yaml", "ini"}, f"{path}: {language}"
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                check_line(line)
        elif language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)


@pytest.mark.parametrize("path", [document.path for document in of_today()])
def test_commands_within_sentences_are_taken(path: str) -> None:
    for span in documents()[path].spans:
        words = shlex.split(span) if re.match(r"(\.venv/bin/)?bitlm ", span) and "…" not in span else []
        if words:
            take(words[1:], whole=False)
        elif re.match(r"make [a-z]", span):
            assert re.search(rf"^{span.split()[1]}:", MAKEFILE, re.MULTILINE), span


def test_options_that_are_named_are_real() -> None:
    waiting, told = [COMMAND], {"--help"}
    while waiting:
        command: Any = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        told |= {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    told |= set(re.findall(r'addoption\("(--[\w-]+)"', (ROOT / "tests" / "conftest.py").read_text()))
    named = {
        (document.path, option)
        for document in of_today()
        for span in document.spans
        if span.startswith("--")
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", span)
    }
    assert len(named) > 20
    assert not {(path, option) for path, option in named if option not in told}


def test_what_is_named_of_the_environment_is_read() -> None:
    read = inspect.getsource(options) + (ROOT / "bitlm_mcp" / "cli.py").read_text()
    named = {name for document in of_today() for name in re.findall(r"\bBITLM_[A-Z_]+", document.text)}
    assert named and all(name in read for name in named), named


def calls_in(text: str) -> list[ast.Call]:
    """The calls that a block consists of, or nothing where it holds anything else."""
    statements = ast.parse(text).body
    calls = [statement.value for statement in statements if isinstance(statement, ast.Expr)]
    found = [call for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    return found if len(found) == len(statements) else []


@pytest.mark.parametrize("path", [document.path for document in of_today()])
def test_blocks_of_python_run_or_are_calls_that_tools_take(path: str, tools: dict[str, StrictTool]) -> None:
    bits = bitlm_core.text_to_bits("again and again ")
    names: dict[str, object] = {"bits": bits, "array": np.frombuffer(b"again and again " * 9, np.uint8), "bitlm": bitlm_core}
    names |= {name: getattr(bitlm_core, name) for name in bitlm_core.__all__}
    for text in (text for language, text in documents()[path].blocks if language == "python"):
        calls = calls_in(text)
        if not calls or not all(call.func.id in tools for call in calls if isinstance(call.func, ast.Name)):
            exec(compile(text, path, "exec"), names)  # noqa: S102 - our own lines
            continue
        for call in calls:
            assert isinstance(call.func, ast.Name) and not call.args, f"{path}: parameters by their names"
            given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
            tool = tools[call.func.id]
            assert check_arguments(tool.name, tool.arguments_model, tool.checked, given).keys() >= given.keys()


CALL = re.compile(r"(\w+)\((.*)\)")


def given_in(arguments: str) -> Iterator[tuple[str, object]]:
    """Names, and values where they are written out, of arguments that may hold an ellipsis."""
    for name, value in re.findall(r"(\w+)=(\"[^\"]*\"|[\w.…]+)?", arguments):
        plain = {"true": "True", "false": "False"}.get(value, value)
        try:
            yield name, ast.literal_eval(plain)
        except (ValueError, SyntaxError):
            yield name, ...


def test_calls_within_sentences_name_parameters_that_there_are(tools: dict[str, StrictTool]) -> None:
    seen = 0
    for document in of_today():
        for called in filter(None, (CALL.fullmatch(span) for span in document.spans)):
            name, arguments = called.groups()
            if name in tools:
                properties = tools[name].checked["properties"]
                for parameter, value in given_in(arguments):
                    assert parameter in properties, f"{document.path}: {called[0]}"
                    known = properties[parameter].get("enum")
                    assert known is None or value is ... or value in known, f"{document.path}: {called[0]}"
                seen += 1
            elif name in bitlm_core.__all__:
                taken = inspect.signature(getattr(bitlm_core, name)).parameters
                open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
                for parameter, _ in given_in(re.sub(r"\w+\([^()]*\)", "", arguments)):
                    assert parameter in taken or open_ended, f"{document.path}: {called[0]}"
                seen += 1
    assert seen > 20
