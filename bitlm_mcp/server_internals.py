"""The one place that knows private names of the SDK."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.lowlevel.server import Server
from mcp.server.session import ServerSession


def low_level(server: MCPServer[Any]) -> Server[Any]:
    """The SDK's inner server, for what `MCPServer` does not offer: own stdio streams, legacy subscriptions, live lists."""
    inner: Server[Any] = server._lowlevel_server
    return inner


def same_connection(one: ServerSession, other: ServerSession) -> bool:
    """Whether two sessions, which are made for each request, have the same connection behind them."""
    return one._connection is other._connection
