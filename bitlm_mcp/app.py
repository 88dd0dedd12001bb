"""One web application: both HTTP transports of MCP, the dashboard's routes and `/health`, behind one guard.

/mcp               streamable HTTP, both protocol eras
/sse, /messages/   the older transport
/health            alive or not; needs no token
/.well-known/…     whose access tokens are accepted, where that is set
anything else      the `routes` of the assembly
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitlm_mcp.event_store import RecentEvents
from bitlm_mcp.oauth import RESOURCE_PATH, resource_metadata
from bitlm_mcp.security import Guard
from bitlm_mcp.server import NAME, package_version
from bitlm_mcp.server_internals import give_each_session_its_events
from bitlm_mcp.settings import ServerSettings

logger = logging.getLogger(__name__)

RETRY_MS = 1000
"""After how long a client that lost its stream comes back for the rest."""

Background = Callable[[], Awaitable[None]]

# Our guard covers every route; a second list of hosts inside the SDK could only disagree with it.
_GUARDED_OUTSIDE = TransportSecuritySettings(enable_dns_rebinding_protection=False)


def _nothing() -> None:
    """What there is to do at the end for an assembly without state."""


@dataclass(frozen=True)
class Assembly:
    """Everything one process serves; the transports need nothing else.

    `background` functions run on the event loop for as long as the process serves, once, whatever the transport.
    `on_leave` is called on the loop when serving is about to end: what would be waited for is to end by itself.
    `on_stop` is called once, off the loop, after serving: it saves what must be saved and joins the threads.
    """

    server: MCPServer[Any]
    routes: Sequence[BaseRoute] = ()
    background: Sequence[Background] = ()
    on_stop: Callable[[], None] = _nothing
    on_leave: Callable[[], None] = _nothing


async def run_background(task: Background) -> None:
    """Run one background function; its failure is logged and takes nothing else down."""
    try:
        await task()
    except Exception:
        logger.exception("background task %s failed", getattr(task, "__qualname__", task))


async def health(_: Request) -> JSONResponse:
    """Whether the event loop answers; says nothing about models."""
    return JSONResponse({"status": "ok", "name": NAME, "version": package_version()})


def _about(settings: ServerSettings) -> list[BaseRoute]:
    """Where a client that was sent away learns whose access tokens are accepted."""
    if settings.oauth is None:
        return []
    metadata = resource_metadata(settings.oauth)

    async def about(_: Request) -> JSONResponse:
        return JSONResponse(metadata)

    return [Route(RESOURCE_PATH, about), Route(RESOURCE_PATH + "/{path:path}", about)]


class QuietEnds:
    """Keeps two ends that are nobody's fault from being logged as crashes.

    A client that leaves while its request is read: the SDK lets the exception out. A stream on /sse that ends because the
    server stops: the SDK's endpoint answers once more, with an empty response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, except a second start on /sse and the departure of the client."""
        started = False

        async def once(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if started:
                    return
                started = True
            await send(message)

        with suppress(ClientDisconnect):
            await self.app(scope, receive, once if scope.get("path") == "/sse" else send)


UNKNOWN_SESSION = (
    "Session not found: it has ended, or it was opened at another server process. Begin a new one; a proxy in front of several "
    "processes has to send all requests of a client that uses sessions to one of them, see examples/proxy"
)


class NamedRefusals:
    """Says why a request is refused whose session this process does not know; the SDK only says that it is not found."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put our text in the place of the SDK's, which comes with the same status: 404 asks clients to begin anew."""
        path = scope.get("path", "")
        names_session = path.startswith("/messages/") or (path == "/mcp" and "mcp-session-id" in Headers(scope=scope))
        refused = False

        async def named(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 404:
                refused = True
                error = {"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": UNKNOWN_SESSION}}
                await JSONResponse(error, status_code=404)(scope, receive, send)
            elif not refused:
                await send(message)

        await self.app(scope, receive, named if names_session else send)


def build_app(
    server: MCPServer[Any],
    settings: ServerSettings,
    routes: Sequence[BaseRoute] = (),
    background: Sequence[Background] = (),
) -> Starlette:
    """The application; `background` functions live as long as its lifespan."""
    http = server.streamable_http_app(transport_security=_GUARDED_OUTSIDE, retry_interval=RETRY_MS)
    give_each_session_its_events(server, RecentEvents)
    sse = server.sse_app(transport_security=_GUARDED_OUTSIDE)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with server.session_manager.run(), anyio.create_task_group() as group:
            for task in background:
                group.start_soon(run_background, task)
            yield
            group.cancel_scope.cancel()

    return Starlette(
        routes=[Route("/health", health), *_about(settings), *http.routes, *sse.routes, *routes],
        middleware=[Middleware(Guard, settings=settings), Middleware(QuietEnds), Middleware(NamedRefusals)],
        lifespan=lifespan,
    )
