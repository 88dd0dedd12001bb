"""The shape of every answer: a frozen record, sent once as data and once as short text.

Hosts differ in which of the two channels their model sees, so both carry the same facts. JSON has neither NaN
nor infinity and nobody needs a null spelled out: a value that is not known is left out of both channels.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar

from mcp_types import CallToolResult, InputRequiredResult, TextContent
from pydantic import BaseModel, BeforeValidator, ConfigDict

TEXT_DIGITS = 4


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FiniteOrNone = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A measured number that may not exist: NaN and infinity become None, and None is not sent."""


class Result(BaseModel):
    """Base of all tool results; fields whose name does not say it all carry a description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    keep_null: ClassVar[frozenset[str]] = frozenset()
    """Fields whose null says something: they are always sent, and may be null in the schema."""


class OfModel(Result):
    """What a model was asked for; `note`: which state of it this is of, where that is not its latest."""

    note: str | None = None


class NeedsAnswer(Result):
    """No answer yet: the client is to ask its user, and to call again. Only clients of the modern era can do this."""

    asked: InputRequiredResult


def _rounded(value: Any) -> Any:
    """The same JSON value with floats cut to `TEXT_DIGITS` significant digits."""
    if isinstance(value, float):
        short = float(f"{value:.{TEXT_DIGITS}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def compact_text(data: Any) -> str:
    """A JSON value as the short text that a language model reads."""
    return json.dumps(_rounded(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def both_channels(result: Result) -> CallToolResult:
    """The answer of a tool: exact structured content, and compact text."""
    data = _data_of(result)
    return CallToolResult(content=[TextContent(type="text", text=compact_text(data))], structured_content=data)


def text_of(result: Result) -> str:
    """The text of an answer, for who has to keep it short."""
    return compact_text(_data_of(result))


def _data_of(result: Result) -> dict[str, Any]:
    return dict.fromkeys(sorted(result.keep_null)) | result.model_dump(mode="json", by_alias=True, exclude_none=True)
