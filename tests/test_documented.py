"""Every public name says what it is: of the engine, its settings, the command line and the server's."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType

import click
from pydantic import BaseModel
from typer.main import get_command

import bitlm_core
from bitlm_mcp.cli import app
from bitlm_mcp.settings import ServerSettings
from tests.documents import ROOT

PUBLIC = {name: getattr(bitlm_core, name) for name in bitlm_core.__all__}
ERRORS = {name for name, value in PUBLIC.items() if inspect.isclass(value) and issubclass(value, bitlm_core.BitLMError)}
WORDS = 3


def own_doc(value: object) -> str:
    """The docstring that is the object's own; what dataclasses and pydantic put in its place is none."""
    doc = (vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)) or ""
    return "" if inspect.isclass(value) and doc.startswith(f"{value.__name__}(") else doc


def members() -> Iterator[tuple[str, object]]:
    """Public functions and classes, and the public methods and properties that a class has of its own."""
    for name, value in PUBLIC.items():
        if isinstance(value, FunctionType):
            yield name, value
        elif inspect.isclass(value) and value.__module__.startswith("bitlm_core"):
            yield name, value
            for key, member in vars(value).items():
                function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
                if not key.startswith("_") and isinstance(function, FunctionType | property):
                    yield f"{name}.{key}", function


def raised(function: FunctionType) -> set[str]:
    """The engine's errors that are raised in the function itself, not further down."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} & ERRORS


def test_every_public_name_of_the_engine_has_a_docstring() -> None:
    bare = [name for name, value in members() if len(own_doc(value).split()) < WORDS]
    assert bare == []


def test_every_public_value_of_the_engine_is_told_below_it() -> None:
    """What has no docstring of its own: patterns, numbers, names of types."""
    values = PUBLIC.keys() - {name for name, _ in members()}
    sources = "".join(path.read_text() for path in (ROOT / "bitlm_core").rglob("*.py"))
    assert values
    assert [name for name in values if not re.search(rf'^{name}(?:: .+)? = .+\n"""', sources, re.MULTILINE)] == []


def test_every_public_function_names_the_errors_that_it_raises() -> None:
    silent = []
    for name, value in members():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, FunctionType):
            owner = PUBLIC[name.split(".")[0]]
            about = own_doc(function) + own_doc(owner)
            elsewhere = re.search(r"\b[Aa]s `", about)  # it raises as the one that it names
            silent += [f"{name}: {error}" for error in raised(inspect.unwrap(function)) if error not in about and not elsewhere]
    assert silent == []


def test_every_setting_is_described() -> None:
    models = {value for value in PUBLIC.values() if inspect.isclass(value) and issubclass(value, BaseModel)}
    bare = [
        f"{model.__name__}.{name}"
        for model in sorted(models | {ServerSettings}, key=lambda model: model.__name__)
        for name, field in model.model_fields.items()
        if not field.description and not re.search(rf"`{name}`|\b{name}: ", own_doc(model))
    ]
    assert bare == []


def test_every_option_of_the_command_line_has_help() -> None:
    waiting: list[tuple[str, click.Command]] = [("bitlm", get_command(app))]
    bare = []
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            waiting += [(f"{name} {key}", inner) for key, inner in command.commands.items()]
        bare += [name] if not command.help else []
        bare += [f"{name} {parameter.name}" for parameter in command.params if not getattr(parameter, "help", None)]
    assert bare == []
