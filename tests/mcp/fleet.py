"""Several server processes on one state directory, behind a proxy that sends each request to the next of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.faults.victims import Refused, Victim, told, victim
from tests.mcp.plain_proxy import RoundRobin, proxy
from tests.mcp.whole_server import Web

LONG_S = 60.0


class Caller:
    """A modern client that writes its requests by hand: of the proxy, or of one server."""

    def __init__(self, url: str, extensions: dict[str, Any] | None = None) -> None:
        self.http = httpx2.Client(base_url=url, timeout=LONG_S)
        self.web = Web(self.http, extensions)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool says. Raises Refused."""
        return told(self.web.call(tool, **arguments))

    def refusal(self, tool: str, **arguments: Any) -> str:
        """Why a tool would not."""
        try:
            found = self.call(tool, **arguments)
        except Refused as refused:
            return str(refused)
        raise AssertionError(found)

    def until(self, tool: str, condition: Callable[[dict[str, Any]], Any], **arguments: Any) -> dict[str, Any]:
        """Call a tool until what it tells is as it should be."""
        deadline = time.monotonic() + LONG_S
        while not condition(found := self.call(tool, **arguments)):
            assert time.monotonic() < deadline, found
            threading.Event().wait(0.05)
        return found


class Fleet:
    """`client` goes through the proxy; `servers` are the processes, `at` their own clients, in the same order."""

    def __init__(self, servers: list[Victim], front: RoundRobin) -> None:
        self.servers, self.proxy = servers, front
        self.client = Caller(front.url)
        self.at = [Caller(url) for url in front.servers]

    def close(self) -> None:
        for caller in (self.client, *self.at):
            caller.http.close()


@contextmanager
def fleet(state: Path, count: int = 3, **options: Any) -> Iterator[Fleet]:
    with ExitStack() as stack:
        logs = [state.with_name(f"{state.name}-{number}.log") for number in range(count)]
        servers = [stack.enter_context(victim(state, log=log, http=True, port=0, **options)) for log in logs]
        made = Fleet(servers, stack.enter_context(proxy([server.address() for server in servers])))
        stack.callback(made.close)
        yield made
