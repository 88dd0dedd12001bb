"""Real processes: three transports in both protocol eras, a clean stdout, and clean ends."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dummy_process import (
    ENV,
    HELLO,
    LEGACY,
    ROOT,
    START_S,
    STOP_S,
    address,
    child,
    command,
    lines_until,
    log_of,
    send,
    shake_hands,
    until,
)
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from bitlm_core.errors import BitLMError
from bitlm_mcp import transports
from bitlm_mcp.errors import PortError
from bitlm_mcp.stdio_lines import MAX_LINE_BYTES
from bitlm_mcp.transports import listen

TOKEN = "-".join(("correct", "horse", "battery", "staple"))
MODERN = "2026-07-28"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def noisy(request_id: int) -> dict[str, Any]:
    arguments = {"text": "hi", "mode": "noisy"}
    meta = {"progressToken": 7}
    return {"id": request_id, "method": "tools/call", "params": {"name": "echo", "arguments": arguments, "_meta": meta}}


async def assert_story(client: Client, version: str) -> None:
    """What every client sees, whatever lies between."""
    assert client.protocol_version == version
    assert [tool.name for tool in (await client.list_tools()).tools] == ["echo", "fail"]
    answer = await client.call_tool("echo", {"text": "[1,2]", "times": 2, "mode": "noisy"})
    assert answer.structured_content == {"text": "[1,2]", "times": 2}
    assert isinstance(answer.content[0], TextContent)
    assert json.loads(answer.content[0].text) == answer.structured_content
    refused = await client.call_tool("echo", {"text": "hi", "times": 10})
    assert isinstance(refused.content[0], TextContent)
    expected = "echo: times must be an integer, at least 1 and at most 9, not 10"
    assert (refused.is_error, refused.content[0].text) == (True, expected)
    purpose = await client.call_tool("fail", {"how": "purpose"})
    assert isinstance(purpose.content[0], TextContent)
    assert purpose.content[0].text == "the model is not trained: call train_step first"


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "version"), [("legacy", LEGACY), ("auto", MODERN)])
async def test_story_over_stdio(tmp_path: Path, mode: str, version: str) -> None:
    _, *arguments = command(tmp_path, "stdio")
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env={"PYTHONPATH": str(ROOT)})
    with (tmp_path / "log").open("w") as log:
        async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
            await assert_story(client, version)
    assert (tmp_path / "stopped").read_text() == (tmp_path / "alive").read_text() == "x"
    assert "stray text\nstray bytes\nstray child" in log_of(tmp_path)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("web")
    with child(state, "http", f"token={TOKEN}") as process:
        yield address(state)
        process.terminate()
        assert process.wait(STOP_S) == 0
    assert (state / "stopped").read_text() == (state / "alive").read_text() == "x"


@pytest.mark.anyio
@pytest.mark.parametrize(("mode", "version"), [("legacy", LEGACY), ("auto", MODERN)])
async def test_story_over_http(web: str, mode: str, version: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as http,
        Client(streamable_http_client(f"{web}/mcp", http_client=http), mode=mode) as client,
    ):
        await assert_story(client, version)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_story_over_sse(web: str, mode: str) -> None:
    transport = sse_client(f"{web}/sse", headers={"authorization": f"Bearer {TOKEN}"})
    async with Client(transport, mode=mode) as client:
        await assert_story(client, LEGACY if mode == "legacy" else MODERN)


@pytest.mark.anyio
async def test_guard_stands_in_front_of_the_real_server(web: str) -> None:
    async with httpx2.AsyncClient(base_url=web) as http:
        for route in ("/", "/mcp", "/sse", "/messages/", "/api/status"):
            assert (await http.get(route)).status_code == 401
            assert (await http.get(route, headers={"host": "evil.example"})).status_code == 421
        health = await http.get("/health")
        assert (health.status_code, health.json()["name"]) == (200, "bitlm")
        assert "default-src 'self'" in health.headers["content-security-policy"]


def test_every_line_of_stdout_is_json(tmp_path: Path) -> None:
    with child(tmp_path, "stdio") as process:
        shake_hands(process)
        send(process.stdin, noisy(2))
        seen = lines_until(process.stdout, 2)
        assert [line["method"] for line in seen if "method" in line] == ["notifications/progress"]
        out, _ = process.communicate(timeout=STOP_S)
        assert [json.loads(line) for line in out.splitlines()] == []
    assert "stray text\nstray bytes\nstray child" in log_of(tmp_path)


def test_a_request_that_is_too_long_is_refused_and_the_next_is_answered(tmp_path: Path) -> None:
    with child(tmp_path, "stdio") as process:
        shake_hands(process)
        send(process.stdin, {"id": 2, "method": "ping", "params": {"_meta": {"filler": "x" * MAX_LINE_BYTES}}})
        (refused,) = lines_until(process.stdout, 2)
        assert refused["error"]["code"] == -32600 and "add_dataset" in refused["error"]["message"]
        send(process.stdin, {"id": 3, "method": "ping"})
        assert lines_until(process.stdout, 3) == [{"jsonrpc": "2.0", "id": 3, "result": {}}]


def assert_clean_end(state: Path, code: int) -> None:
    assert code == 0, log_of(state)
    assert (state / "stopped").read_text() == "x"
    assert "Traceback" not in log_of(state)


def test_stdio_ends_with_stdin(tmp_path: Path) -> None:
    with child(tmp_path, "stdio") as process:
        shake_hands(process)
        process.communicate(timeout=STOP_S)
        assert_clean_end(tmp_path, process.returncode)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("dashboard", ["false", "true"])
def test_stdio_ends_on_signals(tmp_path: Path, number: signal.Signals, dashboard: str) -> None:
    with child(tmp_path, "stdio", f"dashboard={dashboard}") as process:
        shake_hands(process)
        if dashboard == "true":
            address(tmp_path)
        process.send_signal(number)
        assert_clean_end(tmp_path, process.wait(STOP_S))


# Starts the server on the standard input that a third process keeps open, tells its id, and dies on request.
MIDDLE = """
import subprocess, sys
server = subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]))
print(server.pid, file=sys.stderr, flush=True)
sys.stdin.readline()
import os; os._exit(0)
"""
PR_SET_CHILD_SUBREAPER = 36


@pytest.mark.skipif(sys.platform != "linux", reason="adopts the orphan by a means of Linux")
def test_stdio_ends_with_its_parent(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    libc = ctypes.CDLL(None)
    # Orphans then become children of this process, which so learns how they end.
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "bufsize": 0,
    }
    line = [sys.executable, "-c", MIDDLE, str(reading), *command(tmp_path, "stdio")]
    try:
        with subprocess.Popen(line, pass_fds=[reading], env=ENV, **pipes) as middle, os.fdopen(writing, "wb") as wire:
            assert middle.stderr is not None
            server = int(middle.stderr.readline())
            send(wire, HELLO, {"method": "notifications/initialized"})
            lines_until(middle.stdout, 1)
            middle.communicate(b"die\n")
            _, status = until(lambda: _reaped(server), STOP_S, "the orphan ends")
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)
        os.close(reading)
    assert (tmp_path / "stopped").read_text() == "x"


def _reaped(pid: int) -> tuple[int, int] | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return (found, status) if found else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_http_ends_on_signals_with_an_open_stream(tmp_path: Path, number: signal.Signals) -> None:
    with (
        child(tmp_path, "http") as process,
        httpx2.Client(base_url=address(tmp_path)) as http,
        http.stream("GET", "/sse") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        process.send_signal(number)
        assert_clean_end(tmp_path, process.wait(STOP_S))


def test_https_with_a_certificate_of_the_operator(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    with child(tmp_path, "http", f"tls_cert={tmp_path / 'cert.pem'}", f"tls_key={tmp_path / 'key.pem'}") as process:
        base = address(tmp_path)
        assert base.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with httpx2.Client(base_url=base, verify=trusting) as http:
            assert http.get("/health").json()["name"] == "bitlm"
        process.terminate()
        assert_clean_end(tmp_path, process.wait(STOP_S))


def test_dashboard_beside_stdio_takes_the_next_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with child(tmp_path, "stdio", "dashboard=true", f"port={port}") as process:
            base = address(tmp_path)
            assert base != f"http://127.0.0.1:{port}"
            assert "dashboard" in httpx2.get(base).text
            shake_hands(process)
            process.communicate(timeout=STOP_S)
            assert_clean_end(tmp_path, process.returncode)


def test_dashboard_that_cannot_start_is_only_a_warning(tmp_path: Path) -> None:
    # An address of the documentation network, which no machine has.
    with child(tmp_path, "stdio", "dashboard=true", "host=192.0.2.1", f"token={TOKEN}") as process:
        shake_hands(process)
        process.communicate(timeout=STOP_S)
        assert_clean_end(tmp_path, process.returncode)
    assert "no dashboard: cannot listen on 192.0.2.1" in log_of(tmp_path)


def test_command_line_reports_a_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        line = [sys.executable, "-m", "bitlm_mcp", "serve", "--http", "--port", str(port), "--state-dir", str(tmp_path)]
        ended = subprocess.run(line, env=ENV, capture_output=True, timeout=START_S, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().startswith(f"bitlm: port {port} of 127.0.0.1 is in use: stop the other program")


def test_command_line_serves_stdio(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "bitlm_mcp", "serve", "--state-dir", str(tmp_path)]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "bufsize": 0,
    }
    with subprocess.Popen(line, env=ENV, **pipes) as process:
        shake_hands(process)
        _, errors = process.communicate(timeout=STOP_S)
        assert (process.returncode, errors) == (0, b"")


def test_listen_takes_the_next_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(PortError) as caught:
            listen("127.0.0.1", port)
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
        with listen("127.0.0.1", port, attempts=50) as sock:
            assert port < sock.getsockname()[1] < port + 50


def test_stopping_is_bounded_and_its_failure_known(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(transports, "STOP_TIMEOUT_S", 0.05)

    def broken() -> None:
        raise BitLMError("disk full")

    assert transports._finalise(lambda: None)
    assert not transports._finalise(broken)
    assert not transports._finalise(lambda: bool(release.wait(60)))  # type: ignore[arg-type]
    release.set()
