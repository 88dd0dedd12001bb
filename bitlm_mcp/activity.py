"""What the servers of a state directory are doing, as everyone sees it: who they are, which models they write, what they were
called for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: when (UNIX seconds), by whom, how long, and how it ended."""

    at: float
    client: str
    tool: str
    model_id: str | None
    duration_ms: float
    outcome: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Writing:
    """A lease: which model a server writes, for what, since when (UNIX seconds), and in which job, if that has an id."""

    model_id: str
    purpose: str
    since: float
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One server on the state directory; `here`: the one that is asked. `started`: UNIX seconds."""

    server_id: str
    pid: int
    host: str
    started: float
    here: bool
    writes: tuple[Writing, ...]

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"
