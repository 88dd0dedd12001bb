"""The MCP Inspector's command line lists and calls the tools over stdio, SSE and streamable HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dummy_process import ENV, ROOT, START_S, until

TOOL_ERROR = 5
LIMIT_S = 120


@pytest.fixture(scope="module")
def inspector(request: pytest.FixtureRequest) -> list[str]:
    folder = Path(request.config.getoption("--node")).resolve() / "node_modules"
    return [str(folder / "node" / "bin" / "node"), str(folder / ".bin" / "mcp-inspector"), "--cli"]


def command(state: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "bitlm_mcp", "serve", "--state-dir", str(state), "--threads", "1", *options]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("state")
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(command(state, "--http", "--port", "0"), stderr=log, env=ENV)
        try:
            found = until(lambda: re.search(r"http://[\d.]+:\d+", (state / "log").read_text()), START_S, "the server listens")
            yield found.group()
        finally:
            process.terminate()
            assert process.wait(20) == 0


@pytest.mark.parametrize("transport", ["stdio", "sse", "http"])
def test_the_inspector_lists_and_calls_the_tools(inspector: list[str], base: str, transport: str, tmp_path: Path) -> None:
    server = {"stdio": [*command(tmp_path), "-e", f"PYTHONPATH={ROOT}"], "sse": [f"{base}/sse"], "http": [f"{base}/mcp"]}[
        transport
    ]
    environment = os.environ | {"PATH": f"{Path(inspector[0]).parent}:{os.environ['PATH']}"}

    def ask(*arguments: str, expect: int = 0) -> dict[str, Any]:
        found = subprocess.run(
            [*inspector, *server, *arguments], capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
        )
        assert found.returncode == expect, found.stdout + found.stderr
        answer: dict[str, Any] = json.loads(found.stdout) if found.stdout.strip() else {}
        return answer

    names = {tool["name"] for tool in ask("--method", "tools/list", "--strict")["tools"]}
    assert {"init_model", "train_step", "infer", "infer_long", "diffusion_sample", "get_telemetry", "save_checkpoint"} <= names
    model = f"m-{transport}"
    made = ask("--method", "tools/call", "--tool-name", "init_model", "--tool-arg", f"model_id={model}", "preset=tiny")
    assert made["structuredContent"]["model_id"] == model
    if transport != "stdio":  # over stdio every call starts a server of its own
        trained = ask(
            "--method", "tools/call", "--tool-name", "train_step",
            "--tool-arg", f"model_id={model}", "text=abc abc abc", "steps=2",
        )  # fmt: skip
        assert trained["structuredContent"]["steps_done"] == 2
        answered = ask("--method", "tools/call", "--tool-name", "infer", "--tool-arg", f"model_id={model}", "prompt=a")
        assert answered["structuredContent"]["num_bits"] == 64 * 9
    ask("--method", "tools/call", "--tool-name", "infer", "--tool-arg", "model_id=none", "prompt=a", expect=TOOL_ERROR)
