"""The MCP Inspector's command line lists and calls the tools, and accepts their pages, over stdio, SSE and streamable HTTP."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dummy_process import ROOT

from tests.judges.conftest import serve_command

NO_APP, TOOL_ERROR = 2, 5
LIMIT_S = 120


class Inspector:
    """The command line at one server."""

    def __init__(self, server: list[str], programs: dict[str, str]) -> None:
        self._server, self._programs = server, programs

    def ask(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """What it prints for one method, as JSON."""
        found = subprocess.run(
            ["mcp-inspector", "--cli", *self._server, *arguments],
            env=self._programs,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert found.returncode == expect, found.stdout + found.stderr
        answer: dict[str, Any] = json.loads(found.stdout) if found.stdout.strip() else {}
        return answer

    def call(self, tool: str, expect: int = 0, **arguments: object) -> dict[str, Any]:
        """The structured content of a tool's result."""
        given = [part for key, value in arguments.items() for part in ("--tool-arg", f"{key}={value}")]
        answer = self.ask("--method", "tools/call", "--tool-name", tool, *given, expect=expect)
        return dict(answer.get("structuredContent") or {})


@pytest.fixture(params=["stdio", "sse", "http"])
def inspector(request: pytest.FixtureRequest, base: str, programs: dict[str, str], tmp_path: Path) -> Inspector:
    server = {
        "stdio": [*serve_command(tmp_path / "state"), "-e", f"PYTHONPATH={ROOT}"],
        "sse": [f"{base}/sse"],
        "http": [f"{base}/mcp"],
    }[request.param]
    return Inspector(server, programs)


def test_it_lists_and_calls_the_tools(inspector: Inspector, request: pytest.FixtureRequest) -> None:
    call = inspector.call
    names = {tool["name"] for tool in inspector.ask("--method", "tools/list", "--strict")["tools"]}
    assert {"init_model", "train_step", "infer", "infer_long", "diffusion_sample", "get_telemetry", "save_checkpoint"} <= names
    # Over stdio every call starts a server of its own: the model lives from one to the next.
    model = f"inspector-{request.node.callspec.id}"
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


@pytest.mark.parametrize("tool", ["show_training", "show_surprise"])
def test_it_accepts_the_pages_in_the_chat(tool: str, inspector: Inspector, request: pytest.FixtureRequest) -> None:
    probe = ("--advertise-apps", "--method", "tools/call", "--tool-name")
    assert inspector.ask(*probe, tool, "--app-info") == {
        "hasApp": True,
        "toolName": tool,
        "resourceUri": f"ui://bitlm/{tool.removeprefix('show_')}.html",
        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []},
        "prefersBorder": True,
        "resourceMimeType": "text/html;profile=mcp-app",
    }
    inspector.ask(*probe, "get_telemetry", "--app-info", expect=NO_APP)
    # What a host has to show is there for one that renders nothing, too.
    model = f"shown-{request.node.callspec.id}"
    inspector.call("init_model", model_id=model, preset="tiny")
    if tool == "show_training":
        assert inspector.call(tool, model_id=model)["history"] == {"step": []}
    else:
        shown = inspector.call(tool, model_id=model, text="abc abc abc", wait_s=100)
        assert base64.b64decode(shown["data_base64"]) == b"abc abc abc"
        assert len(base64.b64decode(shown["surprise_base64"])) == shown["num_bytes"] == 11
