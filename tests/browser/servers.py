"""Servers of their own for the scenarios, and the tools as an agent calls them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from dummy_process import ENV, START_S, until
from mcp import Client

HERE = Path(__file__).parent
TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "context_mixing": False}


class Play(Protocol):
    """Plays a scenario: what it is given as JSON, and the answers to what it asks for, by name."""

    def __call__(self, script: str, answers: Any = None, *, limit_s: float = ..., **given: Any) -> Awaitable[None]: ...


class Server:
    """A server process over one state directory; it can be stopped, and started again at the same address."""

    def __init__(
        self, state: Path, *options: str, token: str | None = None, witness: Path | None = None, hub: str | None = None
    ) -> None:
        self.state, self._options, self._witness, self._port = state, options, witness, "0"
        secrets = {"BITLM_TOKEN": token, "HF_TOKEN": hub}
        self._env = ENV | {name: secret for name, secret in secrets.items() if secret}
        self._log = state.parent / f"{state.name}-{id(self)}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> str:
        """Start it; where it listens, once it does."""
        command = ["-m", "bitlm_mcp", "serve", "--state-dir", str(self.state), "--http", "--port", self._port, "--threads", "1"]
        if self._witness:
            command = [str(HERE / "watched_server.py"), str(self._witness), str(self.state), self._port]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, *command, *self._options], stderr=log, env=self._env)
        found = until(self._listening, START_S, "the server listens")
        self.address, self._port = found[0], found[1]
        return self.address

    def _listening(self) -> re.Match[str] | None:
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        return re.search(r"http://[\d.]+:(\d+)", self._log.read_text())

    def stop(self) -> None:
        """End it as an operator does."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(30) == 0, self._log.read_text()
            self._process = None

    def kill(self) -> None:
        """End it as a machine does that has no more memory."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None


@contextmanager
def serving(
    state: Path, *options: str, token: str | None = None, witness: Path | None = None, hub: str | None = None
) -> Iterator[Server]:
    """A server for as long as the block lasts; `witness`: where it writes down its steps, see `watched_server.py`.

    hub: the token that it shows a hub.
    """
    server = Server(state, *options, token=token, witness=witness, hub=hub)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Tools:
    """The tools as an agent calls them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self._client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return dict(answer.structured_content or {})

    async def training(self, model_id: str, seconds: float = 120) -> str:
        """A small model that is being trained; its job."""
        await self("init_model", **(TINY | {"model_id": model_id}))
        started = await self("train_step", model_id=model_id, text="abc " * 5000, seconds=seconds, batch_size=2, wait_s=0)
        return str(started["job_id"])

    async def trained(self, model_id: str, steps: int, **fields: Any) -> None:
        """A small model that has learned for some steps."""
        await self("init_model", **(TINY | {"model_id": model_id} | fields))
        await self.train(model_id, steps)

    async def train(self, model_id: str, steps: int) -> None:
        """Train a model for some steps."""
        ended = await self("train_step", model_id=model_id, text="abc " * 5000, steps=steps, batch_size=2, wait_s=45)
        assert ended["status"] == "completed", ended


@asynccontextmanager
async def agent(server: Server) -> AsyncIterator[Tools]:
    """An agent at a server."""
    async with Client(f"{server.address}/mcp") as client:
        yield Tools(client)
