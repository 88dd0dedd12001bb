"""The one place that knows private names of the SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel.server import Server
from mcp.server.session import ServerSession
from mcp.server.streamable_http import EventStore, StreamableHTTPServerTransport
from mcp.shared._context_streams import ContextSendStream
from mcp.shared.message import SessionMessage


def low_level(server: MCPServer[Any]) -> Server[Any]:
    """The SDK's inner server, for what `MCPServer` does not offer: own stdio streams, legacy subscriptions, live lists."""
    inner: Server[Any] = server._lowlevel_server
    return inner


def give_each_session_its_events(server: MCPServer[Any], events: Callable[[], EventStore]) -> None:
    """Let each HTTP session have an event store of its own, made by `events`; the application must have been built.

    The SDK shares one store among all sessions, but names streams only by the ids of requests: what one client is sent would
    be replayed to another whose request has the same number.
    """
    manager = server.session_manager
    admit = manager._admit_session

    def admit_with_events(requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        transport = admit(requestor)
        if transport is not None:
            transport._event_store = events()
        return transport

    manager._admit_session = admit_with_events  # type: ignore[method-assign]


def waiting_to_send(stream: ContextSendStream[SessionMessage]) -> int:
    """How many messages wait until the other end of a stream takes them."""
    return stream._inner.statistics().tasks_waiting_send


def same_connection(one: ServerSession, other: ServerSession) -> bool:
    """Whether two sessions, which are made for each request, have the same connection behind them."""
    return one._connection is other._connection
