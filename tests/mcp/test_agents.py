"""The examples of agents, with a server that has loaded everything already: tests/test_examples.py starts one of their own.

The loop runs with each kind of model: the script, and endpoints that answer as real ones do.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from dummy_process import ROOT
from mcp import StdioServerParameters
from mcp.client import stdio
from mcp.client.streamable_http import streamable_http_client

from tests.faults.victims import victim


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with victim(tmp_path_factory.mktemp("agents") / "state", http=True, port=0, allow_dir=ROOT) as server:
        yield f"{server.address()}/mcp"


class Endpoint(HTTPServer):
    """Calls `list_models` wrongly, then rightly, then says what it was told; `asked` has the requests, with their headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []


class Answer(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        turn = len(self.server.asked)
        arguments = {"limit": "many"} if turn == 1 else {"limit": 1}
        if self.path == "/api/chat/completions":
            call = {
                "id": f"c{turn}",
                "type": "function",
                "function": {"name": "list_models", "arguments": json.dumps(arguments)},
            }
            message = {"content": None, "tool_calls": [call]} if turn < 3 else {"content": body["messages"][-1]["content"]}
            answer: dict[str, Any] = {"choices": [{"message": {"role": "assistant"} | message}]}
        else:
            call = {"type": "tool_use", "id": f"c{turn}", "name": "list_models", "input": arguments}
            last = body["messages"][-1]["content"]
            answer = {"content": [call] if turn < 3 else [{"type": "text", "text": last[0]["content"]}]}
        told = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(monkeypatch: pytest.MonkeyPatch, example: str, *arguments: str, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [example, *arguments])
    runpy.run_path(str(Path(ROOT) / "examples" / example), run_name="__main__")


def test_a_session_does_what_it_says(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """But for the transport, which is that of the server that runs already."""
    started: list[StdioServerParameters] = []

    def connected(parameters: StdioServerParameters) -> Any:
        started.append(parameters)
        return streamable_http_client(url)

    monkeypatch.setattr(stdio, "stdio_client", connected)
    run(monkeypatch, "agent_session.py", str(ROOT / "LICENSE"), "2")
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].endswith("bits per byte of what was held back; saved at step 2")
    assert [parameters.args[:3] for parameters in started] == [["-m", "bitlm_mcp", "serve"]]


def test_the_script_finds_the_odd_line(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "agent_loop.py", BITLM_URL=url)
    assert "The oddest is line 41: 12:00:41 web-1 GET /../../etc/passwd" in capsys.readouterr().out


def test_what_goes_wrong_ends_with_a_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"OPENAI_BASE_URL": "http://127.0.0.1:9", "BITLM_URL": url}
    with pytest.raises(SystemExit, match="OPENAI_MODEL is not set: set it to the name"):
        run(monkeypatch, "agent_loop.py", **given)
    with pytest.raises(SystemExit, match="no answer from the model that can be read: ConnectError"):
        run(monkeypatch, "agent_loop.py", OPENAI_MODEL="some", **given)
    monkeypatch.setattr(stdio, "stdio_client", lambda _: streamable_http_client(url))
    with pytest.raises(SystemExit, match="the session ended early"):
        run(monkeypatch, "agent_session.py", str(ROOT / "nowhere"))
    assert "there is no file or folder" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("kind", ["OPENAI", "ANTHROPIC"])
def test_a_model_behind_an_endpoint_is_given_tools_and_results(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with endpoint() as model:
        given = {
            f"{kind}_BASE_URL": f"http://127.0.0.1:{model.server_port}/api",
            f"{kind}_API_KEY": "key",
            f"{kind}_MODEL": "some",
        }
        run(monkeypatch, "agent_loop.py", "Which models are there?", BITLM_URL=url, **given)
    printed = capsys.readouterr().out
    assert "list_models: refused: list_models: limit must be an integer" in printed and '"totals"' in printed.splitlines()[-1]
    assert len(model.asked) == 3
    path, headers, asked = model.asked[2]
    assert asked["model"] == "some" and "add_dataset" in json.dumps(asked["tools"])
    if kind == "OPENAI":
        assert path == "/api/chat/completions" and headers["authorization"] == "Bearer key"
        roles = [message["role"] for message in asked["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
        assert asked["messages"][3]["tool_call_id"] == "c1" and "must be an integer" in asked["messages"][3]["content"]
        (offered,) = (tool for tool in asked["tools"] if tool["function"]["name"] == "list_models")
        assert offered["function"]["parameters"]["properties"]["limit"]["type"] == "integer"
    else:
        assert path == "/api/v1/messages" and headers["x-api-key"] == "key" and headers["anthropic-version"]
        assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user", "assistant", "user"]
        (result,) = asked["messages"][2]["content"]
        assert result["tool_use_id"] == "c1" and result["is_error"] and "must be an integer" in result["content"]
        assert asked["messages"][3]["content"][0]["input"] == {"limit": 1} and asked["max_tokens"] > 0
