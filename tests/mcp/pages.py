"""Someone at the page: requests to what the page can do on a server, message by message where that matters."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import Message

from bitlm_mcp.app import QuietEnds
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.call_gate import CallGate
from bitlm_mcp.dashboard.acts import act_routes
from bitlm_mcp.records import Call
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.workspace import Workspace

MANY = 1000.0


class Page:
    """The acts of one workspace, and the calls that were told of."""

    def __init__(self, workspace: Workspace, *, per_second: float = MANY, specs: Sequence[ToolSpec] = ()) -> None:
        self.calls: list[Call] = []
        routes = act_routes(workspace, specs or all_tools(workspace), CallGate(per_second, self.calls.append))
        self.app = Starlette(routes=routes, middleware=[Middleware(QuietEnds)])
        self.http = TestClient(self.app, base_url="http://127.0.0.1")

    def act(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What comes of a call that succeeds."""
        answer = self.http.post(f"/api/tools/{tool}", json=arguments)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result

    def refusal(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What is said of a call that is refused."""
        answer = self.http.post(f"/api/tools/{tool}", json=arguments)
        assert answer.status_code == 422, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def ask(
        self, method: str, path: str, messages: AsyncIterator[Message], query: str = "", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """The answer to a request whose body comes as `messages`; (0, {}) where there is none."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            async for message in messages:
                return message
            return await anyio.sleep_forever()

        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": named,
            "client": ("192.0.2.1", 1),
        }
        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        return (sent[0]["status"], json.loads(body)) if sent else (0, {})


def _nothing(_: int) -> None:
    """What is done between chunks, where nothing is asked for."""


async def body_of(*chunks: bytes, between: Callable[[int], None] = _nothing, cut: bool = False) -> AsyncIterator[Message]:
    """A body in chunks; `between` is told before each how much has been sent. `cut`: the client leaves before the end."""
    size = 0
    for chunk in chunks:
        between(size)
        size += len(chunk)
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
