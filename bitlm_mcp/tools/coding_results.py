"""What answers say of codecs: of the data that came compressed, and of the bytes that go out compressed."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from bitlm_mcp.operations.data import Source
from bitlm_mcp.results import FiniteOrNone, Result


class CompressedInput(Result):
    """Where the data of the call came compressed."""

    input_codec: str | None = None
    input_ratio: Annotated[FiniteOrNone, Field(description="Compressed / raw.")] = None


class CompressedOutput(Result):
    """Where the answer's bytes were to be compressed; `raw` where that failed, and the warning says why."""

    output_codec: str | None = None
    output_ratio: Annotated[FiniteOrNone, Field(description="Compressed / raw.")] = None
    output_seconds: Annotated[FiniteOrNone, Field(description="CPU seconds.")] = None
    warning: str | None = None


Answered = TypeVar("Answered", bound=Result)


def with_input(result: Answered, source: Source) -> Answered:
    """The result, saying what its data came as; the result itself where it has no place for that."""
    if source.codec is None or not source.content or not isinstance(result, CompressedInput):
        return result
    told = {"input_codec": source.codec, "input_ratio": source.sent_bytes / len(source.content)}
    return result.model_copy(update=told)
