"""The arguments of a tool call: checked against the tool's model, refused in words a caller can act on.

`ArgumentError` texts name the tool, the argument, its value and what it must be. The words come from the JSON
schema that the tool publishes, so the two cannot disagree.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from pydantic import ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from bitlm_core.errors import BitLMError

MAX_SHOWN = 60
MAX_PROBLEMS = 5

_NOUNS = {
    "string": ("a string", "strings"),
    "integer": ("an integer", "integers"),
    "number": ("a number", "numbers"),
    "boolean": ("true or false", "booleans"),
}
_LIMITS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
)


class ArgumentError(BitLMError):
    """A tool was called with arguments that do not fit its schema; `tool` and `arguments` say where."""

    tool: str
    arguments: tuple[str, ...]


class StrictArguments(ArgModelBase):
    """Base of every argument model: nothing unknown is ignored, nothing infinite accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


def expectation(schema: Mapping[str, Any]) -> str:
    """What a value must be, in words, from its JSON schema."""
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(choice) for choice in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items", {})
        words = f"a list whose items are each {expectation(items)}" if items else "a list"
    else:
        words = _NOUNS.get(str(kind), ("a value that fits the schema", ""))[0]
    limits = [text.format(f"{schema[key]:,}") for key, text in _LIMITS if isinstance(schema.get(key), int | float)]
    if "pattern" in schema:
        limits.append(f"matching {schema['pattern']}")
    joiner = " with " if kind in {"array", "string"} else ", "
    return words + (joiner + " and ".join(limits) if limits else "")


def shown(value: object) -> str:
    """A value as JSON, cut short; a long string is described by its length."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"a string of {len(value):,} characters"
    if isinstance(value, list) and len(value) > MAX_SHOWN // 4:
        return f"a list of {len(value):,} items"
    text = json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def check_arguments(
    tool: str, model: type[StrictArguments], schema: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments as the function wants them, or an `ArgumentError` that names every problem."""
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    given = {name: _relaxed(properties.get(name, {}), value) for name, value in arguments.items()}
    problems = [
        (name, _refusal(name, value, properties[name]))
        for name, value in given.items()
        if isinstance(value, bool) and properties.get(name, {}).get("type") in {"integer", "number"}
    ]
    problems += [
        (name, f"{name} has half a surrogate pair at character {at}: send whole characters, or the data as base64")
        for name, value in given.items()
        if (at := _torn_at(value)) is not None
    ]
    if not problems:
        try:
            return model.model_validate(given).model_dump_one_level()
        except ValidationError as error:
            details = error.errors(include_url=False)
        problems = [(str(d["loc"][0]) if d["loc"] else "", _problem(d, given, properties)) for d in details]
    text = "; ".join(dict.fromkeys(text for _, text in problems[:MAX_PROBLEMS]))
    if len(problems) > MAX_PROBLEMS:
        text += f"; and {len(problems) - MAX_PROBLEMS:,} more problems"
    raise ArgumentError(f"{tool}: {text}", tool=tool, arguments=tuple(name for name, _ in problems))


def _relaxed(schema: Mapping[str, Any], value: Any) -> Any:
    """Some hosts send lists as JSON text, and some languages have no integers. A string argument stays as it is."""
    if schema.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if schema.get("type") == "array" and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _torn_at(value: object) -> int | None:
    """Where a string has half of a character, which JSON can express and UTF-8 cannot."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return error.start
    return None


def _problem(detail: ErrorDetails, given: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> str:
    """One finding of pydantic in our words."""
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, properties, n=1)
        guess = f", did you mean {near[0]}?" if near else ";"
        return f"there is no argument {shown(name)}{guess} The arguments are: {', '.join(properties) or 'none'}"
    if name not in properties:
        return detail["msg"]
    schema = properties[name]
    if detail["type"] == "missing":
        return f"the argument {name} is missing: it must be {expectation(schema)} ({schema['description']})"
    value, place = given[name], name
    for part in detail["loc"][1:]:
        # Only list positions are worth showing; pydantic also puts the names of union branches here.
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            value, place, schema = value[part], f"{place}[{part}]", schema.get("items", schema)
    reason = detail["msg"].removeprefix("Value error, ") if detail["type"] == "value_error" else ""
    return _refusal(place, value, schema, reason)


def _refusal(place: str, value: object, schema: Mapping[str, Any], reason: str = "") -> str:
    if reason:
        return f"{place} is refused, {shown(value)}: {reason}"
    return f"{place} must be {expectation(schema)}, not {shown(value)}"
