"""Results: both channels carry the same facts, short in text and exact in data."""

from __future__ import annotations

import json
import math
from typing import Annotated

import pytest
from mcp_types import TextContent
from pydantic import Field, ValidationError

from bitlm_mcp.results import FiniteOrNone, Result, both_channels, compact_text


class Inner(Result):
    """A part of a result."""

    loss: Annotated[float, Field(description="Loss.")]
    note: Annotated[str | None, Field(description="Note.")] = None


class Outer(Result):
    """A result."""

    step: Annotated[int, Field(description="Step.")]
    rate: Annotated[FiniteOrNone, Field(description="Rate.")]
    parts: Annotated[tuple[Inner, ...], Field(description="Parts.")] = ()
    label: Annotated[str | None, Field(description="Label.")] = None


def test_both_channels() -> None:
    answer = both_channels(Outer(step=123_456, rate=math.pi, parts=(Inner(loss=1e-7 / 3),)))
    assert answer.structured_content == {"step": 123_456, "rate": math.pi, "parts": [{"loss": 1e-7 / 3}]}
    assert isinstance(answer.content[0], TextContent)
    assert answer.content[0].text == '{"step":123456,"rate":3.142,"parts":[{"loss":3.333e-08}]}'
    assert not answer.is_error


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_numbers_that_do_not_exist_are_left_out_of_both(value: float | None) -> None:
    answer = both_channels(Outer(step=1, rate=value))
    assert answer.structured_content == {"step": 1, "parts": []}
    assert isinstance(answer.content[0], TextContent)
    assert "rate" not in json.loads(answer.content[0].text)


def test_a_plain_float_must_be_finite() -> None:
    with pytest.raises(ValidationError):
        Inner(loss=math.nan)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (123456.7, "123500"),
        (2.0, "2"),
        (1e300, "1e+300"),
        (True, "true"),
        ("é", '"é"'),
        (-0.5, "-0.5"),
    ],
)
def test_text_of_values(value: object, text: str) -> None:
    assert compact_text(value) == text


def test_results_are_frozen_and_closed() -> None:
    inner = Inner(loss=1.0)
    with pytest.raises(ValidationError):
        inner.loss = 2.0
    with pytest.raises(ValidationError):
        Inner.model_validate({"loss": 1.0, "lost": 2.0})
