"""The whole server in this process, reached over HTTP by hand or with the SDK's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from starlette.testclient import TestClient

from bitlm_mcp.app import Assembly, build_app
from bitlm_mcp.assembly import assemble
from bitlm_mcp.settings import ServerSettings

MODERN = "2026-07-28"
TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "context_mixing": False}
TEXT = "the quick brown fox jumps over the lazy dog. " * 20


class Web:
    """A modern client that writes its requests by hand."""

    def __init__(self, http: TestClient, extensions: dict[str, Any] | None = None) -> None:
        self.http, self.extensions = http, extensions or {}

    def ask(self, method: str, name: str | None = None, /, **params: Any) -> dict[str, Any]:
        """The whole answer to a request: with a result, or with an error."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": self.extensions},
        }
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": MODERN, "mcp-method": method}
        if name is not None:
            headers["mcp-name"] = name
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}
        found = self.http.post("/mcp", json=body, headers=headers)
        if found.headers["content-type"].startswith("text/event-stream"):
            messages = [
                json.loads(line[5:]) for line in found.text.splitlines() if line.startswith("data:") and line[5:].strip()
            ]
            return next(message for message in messages if message.get("id") == 1)
        answer: dict[str, Any] = found.json()
        return answer

    def result(self, method: str, name: str | None = None, /, **params: Any) -> dict[str, Any]:
        answer = self.ask(method, name, **params)
        assert "error" not in answer, answer
        return {key: value for key, value in answer["result"].items() if key != "_meta"}

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What tools/call returns, whatever its kind."""
        return self.result("tools/call", tool, name=tool, arguments=arguments)

    def prepared(self, model_id: str = "m") -> None:
        """A dataset `data` and a small model."""
        self.call("add_dataset", dataset_id="data", text=TEXT, overwrite=True)
        assert not self.call("init_model", model_id=model_id, **TINY).get("isError")


@contextmanager
def web(state: Path, extensions: dict[str, Any] | None = None, **settings: Any) -> Iterator[Web]:
    """A server with its background work, for as long as the block lasts."""
    given = ServerSettings(state_dir=state, threads=1, **settings)
    parts = assemble(given)
    try:
        app = build_app(parts.server, given, parts.routes, parts.background)
        with TestClient(app, base_url="http://127.0.0.1") as http:
            yield Web(http, extensions)
    finally:
        parts.on_stop()


@asynccontextmanager
async def connected(state: Path, mode: str, **client: Any) -> AsyncIterator[tuple[Client, Assembly]]:
    """The SDK's client beside a server with its background work."""
    parts = assemble(ServerSettings(state_dir=state, threads=1))
    try:
        async with anyio.create_task_group() as group:
            for task in parts.background:
                group.start_soon(task)
            async with Client(parts.server, mode=mode, **client) as found:
                yield found, parts
            group.cancel_scope.cancel()
    finally:
        parts.on_stop()


async def prepare(client: Client, model_id: str = "m") -> None:
    for tool, arguments in (
        ("add_dataset", {"dataset_id": "data", "text": TEXT}),
        ("init_model", {"model_id": model_id, **TINY}),
    ):
        answer = await client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
