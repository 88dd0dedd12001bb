"""A server in the process of a test, with some data and a model that has learned a little of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from bitlm_mcp.assembly import all_tools
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.mcp.workspaces import Server

TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "max_seq_len": 64, "context_mixing": False}
WAIT = {"wait_s": 40}


class Stage:
    """A server in this process with one dataset and one trained model."""

    def __init__(self, client: Client, workspace: Workspace, files: Path) -> None:
        self.client, self.workspace, self.files = client, workspace, files

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return dict(answer.structured_content or {})

    async def refusal(self, tool: str, **arguments: Any) -> str:
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer.structured_content
        return " ".join(getattr(part, "text", "") for part in answer.content)

    async def until_it_trains(self, steps: int = 1) -> None:
        """Wait until a training of the default model is under way and has made so many steps more."""
        model = self.workspace.model
        first = model("default").step
        with anyio.fail_after(60):
            while model("default").state != "training" or model("default").step < first + steps:
                await anyio.sleep(0)

    def state(self) -> Any:
        """All that a refused call must leave alone: what everyone sees beside the call itself, and every file but the
        database's own."""
        snapshot = replace(self.workspace.snapshot, version=0, jobs={}, servers=(), calls=())
        state = self.workspace.settings.state_dir
        files = {
            path: path.stat().st_size for path in sorted(state.rglob("*")) if path.is_file() and "bitlm.db" not in path.name
        }
        return snapshot, files


@asynccontextmanager
async def client(made: Server) -> AsyncIterator[Client]:
    """A client of all tools of a server that was made without a protocol."""
    async with Client(build_server(all_tools(made.workspace))) as found:
        yield found


@asynccontextmanager
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "data.txt").write_text("the quick brown fox " * 50)
    (tmp_path / "secret.txt").write_text("secret")
    workspace = Workspace(ServerSettings(state_dir=tmp_path / "state", allow_dirs=(files,), threads=1))
    try:
        async with Client(build_server(all_tools(workspace))) as client:
            made = Stage(client, workspace, files)
            await made.call("add_dataset", dataset_id="data", path="data.txt")
            await made.call("init_model", **TINY)
            await made.call("train_step", dataset_id="data", steps=2, batch_size=2, **WAIT)
            await made.call("save_checkpoint", name="good")
            await made.call("save_checkpoint", name="damaged")
            file = next((tmp_path / "state" / "checkpoints" / "damaged").glob("*.safetensors"))
            file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
            yield made
    finally:
        workspace.close()
