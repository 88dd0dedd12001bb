"""The MCP Inspector's command line lists and calls the tools over stdio, SSE and streamable HTTP."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dummy_process import ROOT

from tests.judges.conftest import serve_command

TOOL_ERROR = 5
LIMIT_S = 120


@pytest.mark.parametrize("transport", ["stdio", "sse", "http"])
def test_the_inspector_lists_and_calls_the_tools(transport: str, base: str, programs: dict[str, str], tmp_path: Path) -> None:
    server = {
        "stdio": [*serve_command(tmp_path / "state"), "-e", f"PYTHONPATH={ROOT}"],
        "sse": [f"{base}/sse"],
        "http": [f"{base}/mcp"],
    }[transport]

    def ask(*arguments: str, expect: int = 0) -> dict[str, Any]:
        found = subprocess.run(
            ["mcp-inspector", "--cli", *server, *arguments],
            env=programs,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert found.returncode == expect, found.stdout + found.stderr
        answer: dict[str, Any] = json.loads(found.stdout) if found.stdout.strip() else {}
        return answer

    def call(tool: str, expect: int = 0, **arguments: object) -> dict[str, Any]:
        given = [part for key, value in arguments.items() for part in ("--tool-arg", f"{key}={value}")]
        answer = ask("--method", "tools/call", "--tool-name", tool, *given, expect=expect)
        return dict(answer.get("structuredContent") or {})

    names = {tool["name"] for tool in ask("--method", "tools/list", "--strict")["tools"]}
    assert {"init_model", "train_step", "infer", "infer_long", "diffusion_sample", "get_telemetry", "save_checkpoint"} <= names
    # Over stdio every call starts a server of its own: the model lives from one to the next.
    model = f"inspector-{transport}"
    assert call("init_model", model_id=model, preset="tiny")["model_id"] == model
    assert call("train_step", model_id=model, text="abc abc abc", steps=2)["steps_done"] == 2
    asked = {"prompt": "abc", "max_new_bytes": 8, "seed": 7}
    answer = call("infer", model_id=model, **asked)
    assert answer["num_bits"] == 8 * 9
    assert call("infer_long", model_id=model, prompt="abc abc")["bits_per_byte"] > 0
    assert call("diffusion_sample", model_id=model, num_bytes=4, seed=1)["model_step"] == 2
    assert call("get_telemetry", model_id=model)["step"] == 2
    call("save_checkpoint", model_id=model, name=model)
    call("load_checkpoint", model_id=f"{model}-again", name=model)
    assert call("infer", model_id=f"{model}-again", **asked)["data_base64"] == answer["data_base64"]
    call("infer", model_id="none", prompt="a", expect=TOOL_ERROR)
