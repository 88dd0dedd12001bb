"""What can be asked of a hub, and what comes of it; `transfers` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bitlm_mcp.compute.messages import Asked, Message


class Push(Asked):
    """Make a checkpoint the content of a repository, see `bitlm_core.push_checkpoint`. Answer: `Pushed`."""

    checkpoint: str
    repo: str
    parent_commit: str | None
    private: bool
    license_id: str | None


class Fetch(Asked):
    """Download what a repository holds, see `bitlm_core.fetch_checkpoint`. Answer: `Fetched`."""

    repo: str
    revision: str | None


Transfer = Push | Fetch


class Pushed(Message):
    """See `bitlm_core.Pushed`."""

    answer: Literal["pushed"] = "pushed"
    repo: str
    commit: str
    url: str
    num_bytes: int
    sha256: str
    step: int


class Fetched(Message):
    """See `bitlm_core.Fetched`: a file that is somebody's to move or remove."""

    answer: Literal["fetched"] = "fetched"
    path: Path
    repo: str
    commit: str
    step: int
    num_bytes: int
    sha256: str
