"""One story, the same assertions over stdio, SSE and streamable HTTP, in both protocol eras, against the real command."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dummy_process import ENV, START_S, until
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

ERAS = {"auto": "2026-07-28", "legacy": "2025-11-25"}


def serve(state: Path, files: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "bitlm_mcp", "serve", "--threads", "1"),
        *("--state-dir", str(state), "--allow-dir", str(files), *options),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "reference.txt").write_bytes(text[:12_000])
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[str]:
    """The address of one server over HTTP."""
    state = tmp_path_factory.mktemp("http-state")
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(serve(state, files, "--http", "--port", "0"), stderr=log, env=ENV)
        try:
            found = until(lambda: re.search(r"http://[\d.]+:\d+", (state / "log").read_text()), START_S, "the server listens")
            yield found.group()
        finally:
            process.terminate()
            assert process.wait(20) == 0


@asynccontextmanager
async def connect(transport: str, era: str, state: Path, files: Path, base: str) -> AsyncIterator[Client]:
    if transport == "stdio":
        command, *arguments = serve(state, files)
        wire: Any = stdio_client(StdioServerParameters(command=command, args=arguments, env=dict(os.environ) | ENV))
    else:
        wire = sse_client(f"{base}/sse") if transport == "sse" else streamable_http_client(f"{base}/mcp")
    async with Client(wire, mode=era) as client:  # type: ignore[arg-type]
        assert client.protocol_version == ERAS[era]
        yield client


class Agent:
    def __init__(self, client: Client, suffix: str) -> None:
        self.client, self.model, self.checkpoint = client, f"m-{suffix}", f"c-{suffix}"

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        assert len(answer.content) == 1
        text, facts = answer.content[0].text, dict(answer.structured_content or {})  # type: ignore[union-attr]
        # Both channels carry the same facts; the text is compact.
        assert json.loads(text).keys() == facts.keys() and "\n" not in text
        assert len(text) <= 2048, f"{tool}: {len(text)}"
        return facts

    async def finished(self, tool: str, **arguments: Any) -> dict[str, Any]:
        facts = await self.call(tool, **arguments)
        while facts["status"] in ("queued", "running"):
            facts = await self.call("wait_job", job_id=facts["job_id"], wait_s=20)
        assert facts["status"] == "completed", facts
        return facts.get("result") or facts

    async def day(self, dataset: str) -> dict[str, Any]:
        """Everything an agent does with one model; returns the answer that must come again after a restart."""
        stored = await self.call("add_dataset", dataset_id=dataset, path="reference.txt", overwrite=True)
        assert stored["bytes"] == 12_000 and stored["train_bytes"] == 10_800 and stored["holdout_bytes"] == 1_200
        made = await self.call("init_model", model_id=self.model, preset="tiny", max_seq_len=64, overwrite=True)
        assert made["model_id"] == self.model and made["num_parameters"] > 100_000
        before = await self.finished("score", model_id=self.model, dataset_id=dataset)
        trained = await self.finished("train_step", model_id=self.model, dataset_id=dataset, steps=12, wait_s=1)
        assert trained["steps_done"] == trained["step"] == 12 and trained["loss"] > 0
        after = await self.finished("score", model_id=self.model, dataset_id=dataset)
        assert after["num_bytes"] == 1_200
        assert after["bits_per_byte"] < before["bits_per_byte"] < 8
        assert after["bits_per_byte_static"] < before["bits_per_byte_static"] == pytest.approx(8)
        long = await self.finished(
            "infer_long", model_id=self.model, dataset_id=dataset, ctx_bits=576, overlap=72, return_bytes=64
        )
        assert long["num_bits"] == 10_800 and long["returned_bits"] == 576
        assert len(base64.b64decode(long["predicted_bits_base64"])) == 72
        await self.finished("train_step", model_id=self.model, text="abc " * 50, steps=2, objective="diffusion")
        filled = await self.call("diffusion_sample", model_id=self.model, prefix="The ", num_bytes=8, steps=4)
        assert len(base64.b64decode(filled["data_base64"])) == 8 and filled["parity_corrections"] == 0
        assert "warning" not in filled and "text" in filled
        assert (filled["steps"], filled["num_drawn"], filled["windows"]) == (4, 8, 1)
        gaps = await self.call("diffusion_sample", model_id=self.model, template="The ____ of a_", constraint="utf8", steps=2)
        assert gaps["text"][:4] + gaps["text"][8:13] == "The  of a" and gaps["num_drawn"] == 5
        seen = await self.call("get_telemetry", model_id=self.model, last=5)
        assert seen["step"] == 14 and len(seen["history"]["step"]) == 5 and seen["state"] == "idle"
        assert all(0 <= seen[name] <= 1 for name in "kcs")
        saved = await self.call("save_checkpoint", name=self.checkpoint, model_id=self.model, overwrite=True)
        assert saved["step"] == 14 and saved["bytes"] > 1000 and len(saved["sha256"]) == 64
        return await self.ask()

    async def ask(self, model: str | None = None) -> dict[str, Any]:
        return await self.call("infer", model_id=model or self.model, prompt="The ", max_new_bytes=40, seed=4)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("transport", "era"),
    [
        ("stdio", "auto"),
        pytest.param("stdio", "legacy", marks=pytest.mark.slow),
        ("sse", "legacy"),
        ("http", "auto"),
        pytest.param("http", "legacy", marks=pytest.mark.slow),
    ],
)
async def test_an_agent_s_day(transport: str, era: str, tmp_path: Path, files: Path, base: str) -> None:
    def opened() -> AbstractAsyncContextManager[Client]:
        return connect(transport, era, tmp_path / "state", files, base)

    async with opened() as client:
        agent = Agent(client, f"{transport}-{era}")
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {
            "init_model",
            "train_step",
            "infer",
            "infer_long",
            "diffusion_sample",
            "get_telemetry",
            "save_checkpoint",
        } <= tools
        expected = await agent.day(f"d-{transport}-{era}")
        status = json.loads((await client.read_resource("bitlm://status")).contents[0].text)  # type: ignore[union-attr]
        assert agent.model in {model["model_id"] for model in status["models"]}
        uri = f"bitlm://models/{agent.model}/telemetry"
        telemetry = json.loads((await client.read_resource(uri)).contents[0].text)  # type: ignore[union-attr]
        assert telemetry["step"] == 14 and telemetry["history"]["step"]
        refused = await client.call_tool("infer", {"model_id": "none", "prompt": "a"})
        assert refused.is_error
    # Over stdio this is another process; over HTTP another session of the same one.
    async with opened() as client:
        agent = Agent(client, f"{transport}-{era}")
        await agent.call("load_checkpoint", name=agent.checkpoint, model_id="again", overwrite=True)
        assert await agent.ask("again") == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_readme_s_calls_without_the_protocol_run(files: Path, base: str) -> None:
    lines = re.findall(r"^curl .*$", (Path(__file__).parents[2] / "bitlm_mcp" / "guide" / "page.md").read_text(), re.MULTILINE)
    assert len(lines) == 2
    answers = []
    for line in lines:
        command = line.replace("http://127.0.0.1:8765", base).replace("FILE", str(files / "reference.txt"))
        done = subprocess.run(["curl", "-s", *shlex.split(command)[1:]], capture_output=True, timeout=60, check=True)
        answers.append(json.loads(done.stdout)["result"])
    assert answers[0]["dataset_id"] == "mine" and answers[0]["bytes"] == (files / "reference.txt").stat().st_size
    assert answers[0]["num_documents"] > 100
    assert answers[1]["model_id"] == "mine" and answers[1]["num_parameters"] > 100_000
