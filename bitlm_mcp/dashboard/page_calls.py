"""Tool calls of people at the page: through the gate that agents' calls pass, under its limit and with its record."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from mcp_types.version import LATEST_MODERN_VERSION
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bitlm_core import BitLMError
from bitlm_mcp.arguments import ArgumentError
from bitlm_mcp.call_gate import CallGate, TooManyCallsError
from bitlm_mcp.dashboard.wire import TooLargeError, answer, failure
from bitlm_mcp.freshness import caught_up
from bitlm_mcp.silent_dispatch import SilentDispatch
from bitlm_mcp.workspace import Workspace

log = logging.getLogger("bitlm.page")

CLIENT = "status page"
"""What the page is called where calls are recorded."""

Act = Callable[[Context[Any, Any]], Awaitable[CallToolResult]]


class PageCalls:
    """Makes calls in the name of whoever looks at the page; all pages of one address are one client."""

    def __init__(self, gate: CallGate, workspace: Workspace) -> None:
        self._gate = gate
        self._workspace = workspace

    async def make(
        self,
        request: Request,
        tool: str,
        arguments: Mapping[str, Any],
        parameters: Collection[str],
        act: Act,
        status: int = 200,
    ) -> Response:
        """What came of a call, as a response: `act` makes it; a refusal names those of the `parameters` that it is about."""

        async def run(ctx: ServerRequestContext[Any, Any]) -> CallToolResult:
            return await act(Context(request_context=ctx))

        await caught_up(self._workspace)
        try:
            result: Any = await self._gate.admit(_context(request, tool, arguments), run)
        except TooManyCallsError as error:
            refusal = failure(429, error.message)
            refusal.headers["retry-after"] = str(math.ceil(error.wait_s))
            return refusal
        except TooLargeError as error:
            return failure(413, error.message)
        except UnexpectedToolError as error:
            log.exception("tool %r raised an unexpected exception", tool)
            return failure(500, str(error))
        except (ToolError, BitLMError, MCPError) as error:
            return failure(422, str(error), names=named(error, parameters))
        return answer({"result": result.structured_content}, status)


async def while_connected(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """What comes of some work, which is cancelled when whoever asked has gone: then ClientDisconnect is raised.

    The request's body must have been read.
    """
    response: Response | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_when_gone, request, group.cancel_scope)
        response = await work()
        group.cancel_scope.cancel()
    if response is None:
        raise ClientDisconnect
    return response


def named(error: Exception, parameters: Collection[str]) -> list[str]:
    """The parameters that a refusal is about, in the order in which it names them."""
    cause = error.__cause__
    # What is refused by its schema knows it, and its text also tells what else there is.
    found = cause.arguments if isinstance(cause, ArgumentError) else re.findall(r"\w+", str(error))
    return [name for name in dict.fromkeys(found) if name in parameters]


async def _cancel_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _context(request: Request, tool: str, arguments: Mapping[str, Any]) -> ServerRequestContext[Any, Any]:
    """The context of a call that came over no session: it can be told no progress, and asked nothing."""
    connection = Connection.from_envelope(LATEST_MODERN_VERSION, {"name": CLIENT, "version": "1"}, {})
    return ServerRequestContext(
        session=ServerSession(SilentDispatch("page"), connection),
        lifespan_context={},
        protocol_version=LATEST_MODERN_VERSION,
        method="tools/call",
        params={"name": tool, "arguments": arguments},
        request=request,
    )
