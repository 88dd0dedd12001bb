"""A proxy that knows nothing of the protocol: each request goes to the next server in turn, and its answer back as it comes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bitlm_mcp.transports import listen

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD"]
START_S = 20.0


class RoundRobin:
    """No client stays with a server, nor does a server that refuses a connection get the request."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = list(servers)
        self.url = ""
        self.taken: list[str] = []
        """Which server took which request, in their order."""
        self._next = 0
        self._http: Any = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(timeout=None, limits=httpx2.Limits(max_keepalive_connections=0)) as self._http:
            yield

    async def pass_on(self, request: Request) -> Response:
        body = await request.body()
        headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
        headers.append(("x-forwarded-for", request.client.host if request.client else "unknown"))
        for _ in self.servers:
            server = self.servers[self._next % len(self.servers)]
            self._next += 1
            asked = self._http.build_request(
                request.method, f"{server}{request.url.path}?{request.url.query}", headers=headers, content=body
            )
            try:
                answer = await self._http.send(asked, stream=True)
            except httpx2.ConnectError:
                continue
            self.taken.append(server)
            passed = StreamingResponse(
                answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
            )
            passed.raw_headers = [(k, v) for k, v in answer.headers.raw if k.decode().lower() not in HOP_BY_HOP]
            return passed
        return Response("no server answers", status_code=502)


@contextmanager
def proxy(servers: Sequence[str]) -> Iterator[RoundRobin]:
    """The proxy in a thread, for as long as the block lasts."""
    made = RoundRobin(servers)
    app = Starlette(routes=[Route("/{path:path}", made.pass_on, methods=METHODS)], lifespan=made.lifespan)
    sock = listen("127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive()
