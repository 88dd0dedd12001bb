"""How checkpoints on a hub look in a tool's result."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bitlm_mcp.results import Result
from bitlm_mcp.snapshot import Status


class HubResult(Result):
    """A checkpoint that is at a commit of a repository, and in the store. Or the job that brings it there."""

    job_id: str
    status: Status
    name: str | None = None
    repo: str | None = None
    commit: Annotated[str | None, Field(description="For parent_commit, or revision.")] = None
    url: Annotated[str | None, Field(description="Of what was pushed, for people.")] = None
    num_bytes: int | None = None
    sha256: str | None = None
    step: int | None = None
    next: str | None = None
