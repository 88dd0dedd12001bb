"""The wire shape of a growth."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bitlm_mcp.results import Result
from bitlm_mcp.snapshot import Status


class ScaleResult(Result):
    """How a model has grown or was brought back, or the job that is still at it."""

    job_id: str
    status: Status
    strategy: str | None = None
    step: int | None = None
    num_parameters_before: int | None = None
    num_parameters: int | None = None
    memory_estimate_bytes: int | None = None
    changes: Annotated[dict[str, list[Any]] | None, Field(description="Of the network: what was, and what is.")] = None
    checkpoint_before: Annotated[str | None, Field(description="The state before.")] = None
    next: str | None = None
