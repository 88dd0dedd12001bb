"""How a quantised model looks in a tool's result."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bitlm_mcp.results import Result
from bitlm_mcp.snapshot import Status


class QuantizeResult(Result):
    """A model that was made of another, and how small it is. Or the job."""

    job_id: str
    status: Status
    model_id: str | None = None
    mode: str | None = None
    network_bytes: Annotated[int | None, Field(description="Of its network, as saved.")] = None
    network_bytes_before: Annotated[int | None, Field(description="The same of the source.")] = None
    file_bytes: Annotated[int | None, Field(description="Of its whole state, context mixing included.")] = None
    checkpoint_before: Annotated[str | None, Field(description="The state before, for load_checkpoint.")] = None
    step: int | None = None
    next: str | None = None
