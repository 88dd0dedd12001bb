"""The one place where errors change language: from bitlm's to the protocol's.

A `BitLMError` was raised on purpose, and its text is meant for the caller: it passes. Everything else is a
fault of ours: the caller learns only that it happened, and the SDK writes the traceback to the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import (
    ResourceError,
    ResourceNotFoundError,
    ToolError,
    UnexpectedToolError,
)
from mcp.shared.exceptions import MCPError

from bitlm_core.errors import BitLMError, CheckpointNotFoundError

MAX_KNOWN = 10


class UnknownHandleError(BitLMError):
    """No model, job, dataset or other thing of that id; `kind`, `handle` and `known` say which."""

    kind: str
    handle: str
    known: Sequence[str]

    def __init__(self, kind: str, handle: str, known: Sequence[str] = (), hint: str = "") -> None:
        shown = ", ".join(known[:MAX_KNOWN]) or "none"
        more = f" and {len(known) - MAX_KNOWN:,} more" if len(known) > MAX_KNOWN else ""
        message = f"no {kind} {handle[:80]!r}; known: {shown}{more}"
        super().__init__(f"{message}: {hint}" if hint else message, kind=kind, handle=handle, known=tuple(known))


class PortError(BitLMError):
    """The port cannot be listened on; `host` and `port` say which."""

    host: str
    port: int


@contextmanager
def tool_errors(name: str) -> Iterator[None]:
    """Around the body of a tool: what leaves is an error that the SDK shows as intended."""
    try:
        yield
    except BitLMError as error:
        raise ToolError(error.message) from error
    except (MCPError, ToolError):
        raise
    except Exception as error:
        # The SDK logs the cause of this class with its traceback and shows the caller only this text.
        raise UnexpectedToolError(
            f"{name} failed because of a fault in the server, not in the arguments; its log has the details."
        ) from error


@contextmanager
def resource_errors() -> Iterator[None]:
    """Around the body of a resource; faults of ours are already made generic and logged by the SDK."""
    try:
        yield
    except (UnknownHandleError, CheckpointNotFoundError) as error:
        raise ResourceNotFoundError(error.message) from error
    except BitLMError as error:
        raise ResourceError(error.message) from error
