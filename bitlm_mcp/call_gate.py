"""The gate that every tool call passes: how many a client may make, and a record of each.

A client is who shares a session: over stdio the one there is, over HTTP a session, or without one an address with the name
the client gives itself. Names can be chosen freely, so this bounds mistakes and loops, not malice; the token does that.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from bitlm_core import BitLMError
from bitlm_mcp.activity import Call
from bitlm_mcp.outbox import Outbox

MAX_CLIENTS = 10_000
MAX_WAITING_CALLS = 10_000
BURST_S = 2.0
MAX_MESSAGE = 200


class RateLimit:
    """A token bucket for each client: `per_second` calls in the long run, and what two seconds allow at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Take one call from a client's bucket: 0, or the seconds until there will be one."""
        full, now = self._per_second * BURST_S, time.monotonic()
        left, at = self._buckets.pop(client, (full, now))
        left = min(full, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second


class TooManyCallsError(BitLMError):
    """A client makes more calls than it may; in `wait_s` seconds it may make one again."""

    wait_s: float


class CallGate:
    """Middleware of the SDK's server. `observed` is told of every call, on the event loop."""

    def __init__(self, per_second: float, observed: Callable[[Call], None]) -> None:
        self._limit = RateLimit(per_second)
        self._per_second = per_second
        self._observed = observed

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Let a message pass; a tool call only within its client's limit."""
        if ctx.method != "tools/call":
            return await call_next(ctx)
        try:
            return await self.admit(ctx, call_next)
        except TooManyCallsError as error:
            return _refusal(error.message)

    async def admit(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Make a tool call within its client's limit, and tell of it. Raises TooManyCallsError."""
        client, name = client_of(ctx)
        wait_s = self._limit.wait_s(client)
        began, clock = time.time(), time.perf_counter()
        outcome, message = "cancelled", None
        try:
            if wait_s:
                raise TooManyCallsError(
                    f"too many calls: more than {self._per_second:g} per second from one client; wait {wait_s:.1f} s, and use "
                    "wait_job instead of asking again and again",
                    wait_s=wait_s,
                )
            result = await call_next(ctx)
            outcome, message = _outcome(result)
            return result
        except (MCPError, ToolError, BitLMError) as error:
            outcome, message = "error", storable(error, MAX_MESSAGE)
            raise
        finally:
            tool, model_id = _asked(ctx.params or {})
            duration_ms = 1000 * (time.perf_counter() - clock)
            self._observed(Call(began, name, tool, model_id, duration_ms, outcome, message))


class CallLog(Outbox[Call]):
    """Calls that wait to be recorded."""

    def __init__(self) -> None:
        super().__init__(MAX_WAITING_CALLS)


def client_of(ctx: ServerRequestContext[Any, Any]) -> tuple[str, str]:
    """What tells a client from others, and how it is called in the log."""
    params = ctx.session.client_params
    name = storable(params.client_info.name) if params else "unknown"
    request = ctx.request
    if request is None:
        return "stdio", f"{name} over stdio"
    address = request.client.host if request.client else "unknown"
    session = request.headers.get("mcp-session-id") or request.query_params.get("session_id")
    return f"{address}/{session or name}", f"{name} at {address}"


def _asked(params: Any) -> tuple[str, str | None]:
    tool, arguments = params.get("name"), params.get("arguments")
    model_id = arguments.get("model_id") if isinstance(arguments, dict) else None
    return storable(tool), storable(model_id) if model_id is not None else None


def _refusal(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _outcome(result: HandlerResult) -> tuple[str, str | None]:
    """What came of a call, and its error's text. The SDK hands some results on as JSON values already."""
    if isinstance(result, CallToolResult):
        result = result.model_dump(mode="json", by_alias=True)
    if not isinstance(result, dict) or not result.get("isError"):
        return "ok", None
    return "error", storable(" ".join(str(part.get("text", "")) for part in result.get("content", ())), MAX_MESSAGE)


def storable(text: object, length: int = 80) -> str:
    """The beginning of what a client sent, as text that files and databases can hold."""
    return str(text)[:length].encode("utf-8", "backslashreplace").decode()
