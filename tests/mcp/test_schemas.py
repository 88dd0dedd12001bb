"""Schemas and argument checks: what is published is flat and closed, what is refused is explained."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, Literal

import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from bitlm_core.errors import SequenceTooLongError
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import SchemaError, ToolSpec, build_tool
from bitlm_mcp.server import INSTRUCTIONS, build_server

Text = Annotated[str, Field(description="A text of twenty characters.")]


class Part(Result):
    """One part."""

    value: Annotated[float | None, Field(description="Value.")] = None


class Seen(Result):
    """The arguments as they arrived."""

    seen: Annotated[str, Field(description="JSON of the arguments.")]
    parts: Annotated[tuple[Part, ...], Field(description="Parts.")] = ()
    by_name: Annotated[dict[str, Part] | None, Field(description="Parts by name.")] = None


async def train(
    ctx: Context,
    steps: Annotated[int, Field(ge=1, le=1_000_000, description="How many optimizer steps to run.")],
    rate: Annotated[float, Field(gt=0, lt=1, description="The learning rate of the optimizer.")] = 0.1,
    mode: Annotated[Literal["adamw", "sgd"], Field(description="Which optimizer takes the steps.")] = "adamw",
    name: Annotated[str | None, Field(pattern="^[a-z]+$", max_length=70, description="A name to keep it under.")] = None,
    seed: Annotated[int | None, Field(ge=0, description="The seed; without one, a random one.")] = None,
    bits: Annotated[list[int] | None, Field(max_length=20, description="Bits to start from, each 0 or 1.")] = None,
    quick: Annotated[bool, Field(description="Whether to skip the evaluation.")] = False,
) -> Seen:
    """Train a model, or rather pretend to.

    Call it again
    to go on.
    """
    given = {"steps": steps, "rate": rate, "mode": mode, "name": name, "seed": seed, "bits": bits, "quick": quick}
    return Seen(seen=json.dumps(given))


async def fail(kind: Annotated[Literal["ours", "crash"], Field(description="Which failure to show.")]) -> Seen:
    """Fail in one of two ways, on request."""
    if kind == "ours":
        raise SequenceTooLongError("12 bits exceed max_seq_len=8: call infer_long", length=12, limit=8)
    raise KeyError("secret detail")


def spec(function: Callable[..., Awaitable[Result]]) -> ToolSpec:
    return ToolSpec(function, "Title", read_only=False, destructive=False, idempotent=False)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def call(tool: str, arguments: dict[str, Any]) -> CallToolResult:
    async with Client(build_server([spec(train), spec(fail)])) as client:
        return await client.call_tool(tool, arguments)


def text_of(answer: CallToolResult) -> str:
    assert isinstance(answer.content[0], TextContent)
    return answer.content[0].text


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def test_published_schemas_are_flat_and_closed() -> None:
    tool = build_tool(spec(train))
    assert tool.output_schema is None  # the fields of an answer name themselves when it comes
    assert tool.parameters["type"] == "object"
    for node in nodes(tool.parameters):
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title"} & set(node)
    assert tool.parameters["additionalProperties"] is False
    assert tool.parameters["required"] == ["steps"]
    assert list(tool.parameters["properties"]) == ["steps", "rate", "mode", "name", "seed", "bits", "quick"]
    seed = tool.parameters["properties"]["seed"]
    assert seed == {"type": "integer", "description": "The seed; without one, a random one."}
    # What only a refusal tells is not listed, nor where counting begins.
    name, steps = tool.checked["properties"]["name"], tool.checked["properties"]["steps"]
    assert name["maxLength"] == 70 and name["pattern"] and steps["maximum"] == 1_000_000
    assert tool.parameters["properties"]["name"] == {key: name[key] for key in name.keys() - {"maxLength", "pattern"}}
    assert tool.parameters["properties"]["steps"] == {key: steps[key] for key in steps.keys() - {"maximum", "minimum"}}
    assert tool.description == "Train a model, or rather pretend to.\nCall it again to go on."


@pytest.mark.anyio
async def test_all_four_hints_reach_the_client() -> None:
    async with Client(build_server([spec(train)])) as client:
        tool = (await client.list_tools()).tools[0]
        wire = tool.model_dump(by_alias=True, exclude_none=True)
        assert set(wire["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert client.instructions == INSTRUCTIONS
    assert len(INSTRUCTIONS.encode()) <= 1024


REFUSALS = [
    (
        {"steps": 1, "stepz": 1},
        'train: there is no argument "stepz", did you mean steps? The arguments are: steps, rate, mode,',
    ),
    ({}, "train: the argument steps is missing: it must be an integer, at least 1 and at most 1,000,000 (How many"),
    ({"steps": 0}, "train: steps must be an integer, at least 1 and at most 1,000,000, not 0"),
    ({"steps": "many"}, 'at most 1,000,000, not "many"'),
    ({"steps": "7"}, 'steps must be an integer, at least 1 and at most 1,000,000, not "7"'),
    ({"steps": 7.5}, "steps must be an integer, at least 1 and at most 1,000,000, not 7.5"),
    ({"quick": "true"}, 'quick must be true or false, not "true"'),
    ({"quick": 1}, "quick must be true or false, not 1"),
    ({"rate": "0.5"}, 'rate must be a number, more than 0 and less than 1, not "0.5"'),
    ({"steps": 1.5}, "not 1.5"),
    ({"steps": True}, "train: steps must be an integer, at least 1 and at most 1,000,000, not true"),
    ({"steps": None}, "not null"),
    ({"steps": [1]}, "not [1]"),
    ({"steps": 1, "rate": 1}, "train: rate must be a number, more than 0 and less than 1, not 1"),
    ({"steps": 1, "rate": "nan"}, 'not "nan"'),
    ({"steps": 1, "rate": "1e999"}, 'not "1e999"'),
    ({"steps": 1, "mode": "adam"}, 'train: mode must be one of "adamw", "sgd", not "adam"'),
    ({"steps": 1, "name": 5}, "train: name must be a string with at most 70 characters and matching ^[a-z]+$, not 5"),
    ({"steps": 1, "name": "x" * 5000}, "not a string of 5,000 characters"),
    ({"steps": 1, "bits": [0, "x"]}, 'train: bits[1] must be an integer, not "x"'),
    (
        {"steps": 1, "bits": list(range(21))},
        "train: bits must be a list whose items are each an integer with at most 20",
    ),
    ({"steps": 1, "bits": "[0, nonsense"}, 'not "[0, nonsense"'),
    ({"steps": 1, "quick": "perhaps"}, 'train: quick must be true or false, not "perhaps"'),
    ({"steps": 0, "mode": "no"}, 'not 0; mode must be one of "adamw", "sgd", not "no"'),
    ({"steps": 1} | {f"x{i}": i for i in range(9)}, "; and 4 more problems"),
    ({"steps": 1, "ctx": {}}, 'there is no argument "ctx"'),
    ({"steps": 1, "name": "ab\ud800"}, "train: name has half a surrogate pair at character 2: send whole characters"),
    ({"steps": 1, "\ud800": 1}, 'train: there is no argument "'),
    ({"steps": 1, "mode": ["\ud800"]}, r'not ["\ud800"]'),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("arguments", "expected"), REFUSALS)
async def test_refusals_are_sentences(arguments: dict[str, Any], expected: str) -> None:
    answer = await call("train", arguments)
    assert answer.is_error
    assert expected in text_of(answer)
    assert "pydantic" not in text_of(answer)
    assert len(text_of(answer)) < 1_000


ACCEPTED = [
    ({"steps": 7.0}, {"steps": 7}),
    ({"bits": "[0, 1]"}, {"bits": [0, 1]}),
    ({"bits": None, "seed": None}, {"bits": None, "seed": None}),
    ({"name": "null"}, {"name": "null"}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("arguments", "expected"), ACCEPTED)
async def test_what_models_send_is_understood(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = await call("train", {"steps": 1} | arguments)
    assert not answer.is_error, text_of(answer)
    assert answer.structured_content is not None
    assert json.loads(answer.structured_content["seen"]).items() >= expected.items()


@pytest.mark.anyio
async def test_errors_on_purpose_arrive_word_for_word() -> None:
    answer = await call("fail", {"kind": "ours"})
    assert (answer.is_error, text_of(answer)) == (True, "12 bits exceed max_seq_len=8: call infer_long")


@pytest.mark.anyio
async def test_crashes_are_generic_outside_and_complete_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await call("fail", {"kind": "crash"})
    assert answer.is_error
    assert "secret" not in text_of(answer)
    assert "fault in the server" in text_of(answer)
    assert "KeyError: 'secret detail'" in caplog.text


class Plain:
    """Not a result."""


class Loop(Result):
    """Contains itself."""

    again: Annotated[list[Loop], Field(description="Again.")]


class Union(Result):
    """Has a field of two types."""

    both: Annotated[int | str, Field(description="Either.")]


async def undescribed_parameter(steps: int) -> Seen:
    """A tool whose parameter has no words."""


async def wordy_parameter(steps: Annotated[int, Field(description="x" * 501)]) -> Seen:
    """A tool whose parameter has too many words."""


async def untyped_parameter(steps) -> Seen:  # type: ignore[no-untyped-def]
    """A tool whose parameter has no type."""


async def nested_parameter(part: Annotated[Part, Field(description="A part of a whole, nested.")]) -> Seen:
    """A tool whose parameter is an object."""


async def union_parameter(part: Annotated[int | str, Field(description="Either of two types.")]) -> Seen:
    """A tool whose parameter has two types."""


async def reserved_parameter(copy: Text) -> Seen:
    """A tool whose parameter is also a method of pydantic."""


async def plain_result(text: Text) -> Plain:
    """A tool that does not return a result."""


async def loop_result(text: Text) -> Loop:
    """A tool whose result contains itself."""


async def union_result(text: Text) -> Union:
    """A tool whose result has a field of two types."""


async def without_words(text: Text) -> Seen: ...


def not_async(text: Text) -> Seen:
    """A tool that would block the event loop."""


FAULTS: list[tuple[Callable[..., Any], str]] = [
    (undescribed_parameter, "undescribed_parameter.steps: the description has 0 characters"),
    (wordy_parameter, "has 501 characters"),
    (untyped_parameter, "untyped_parameter.steps: a parameter needs a type"),
    (nested_parameter, "nested_parameter.part: a parameter must be a scalar"),
    (union_parameter, "union_parameter.part: anyOf"),
    (reserved_parameter, "reserved_parameter.copy: pydantic reserves"),
    (plain_result, "must return a subclass of Result"),
    (loop_result, "Loop contains itself"),
    (union_result, "union_result.both: anyOf"),
    (without_words, "the docstring must tell"),
    (not_async, "must be an async function"),
]


@pytest.mark.parametrize(("function", "fault"), FAULTS)
def test_faulty_tools_are_refused_when_built(function: Callable[..., Any], fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        build_tool(spec(function))
    assert fault in str(caught.value)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(SchemaError, match="share a name: train"):
        build_server([spec(train), spec(train)])
