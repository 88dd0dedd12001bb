"""Clients that leave in the middle, do not read, send rubbish, or call without end: nobody else notices."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.faults.story import TINY
from tests.faults.victims import HELLO, Refused, Victim, told, victim

MODERN = "2026-07-28"
TEXT = "the quick brown fox jumps over the lazy dog " * 20


class Caller:
    """A client over HTTP that keeps no session."""

    def __init__(self, address: str, http: httpx2.Client) -> None:
        self.address, self._http = address, http

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """As `Victim.call`."""
        body = json.loads(request(tool, arguments))
        response = self._http.post(f"{self.address}/mcp", json=body, headers=headers(tool))
        assert response.status_code == 200, response.text
        found = response.text
        if response.headers["content-type"].startswith("text/event-stream"):
            found = [line[6:] for line in found.splitlines() if line.startswith("data: ") and line != "data: "][-1]
        return told(json.loads(found)["result"])


def headers(tool: str) -> dict[str, str]:
    return {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }


def request(tool: str, arguments: dict[str, Any]) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": HELLO["clientInfo"],
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def raw(address: str, tool: str, arguments: dict[str, Any]) -> bytes:
    """The same call as bytes on the wire."""
    body = request(tool, arguments)
    lines = [f"{name}: {value}" for name, value in headers(tool).items()]
    head = ["POST /mcp HTTP/1.1", f"host: {urlsplit(address).netloc}", *lines, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def connected(address: str) -> socket.socket:
    url = urlsplit(address)
    return socket.create_connection((url.hostname, url.port), timeout=30)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Victim]:
    with victim(tmp_path / "state", http=True, port=0) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def caller(web: Victim) -> Iterator[Caller]:
    with httpx2.Client(timeout=60) as http:
        found = Caller(web.address(), http)
        found.call("init_model", model_id="m", context_mixing=False, **TINY)
        found.call("add_dataset", dataset_id="d", text=TEXT)
        yield found


def open_files(server: Victim) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def memory_mib(server: Victim) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def settled(what: Any, most: float) -> bool:
    """Whether a number falls to a limit in good time."""
    deadline = time.monotonic() + 20
    while what() > most:
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.05)
    return True


def test_clients_that_leave_in_mid_call_leave_nothing_behind(web: Victim, caller: Caller) -> None:
    rng, before = random.Random(3), open_files(web)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("train_step", {"model_id": "m", "dataset_id": "d", "steps": 20, "batch_size": 2, "queue": True}),
        ("infer", {"model_id": "m", "prompt": "the ", "max_new_bytes": 2000}),
        ("infer_long", {"model_id": "m", "dataset_id": "d"}),
        ("add_dataset", {"dataset_id": "x", "text": TEXT * 100, "overwrite": True}),
        ("save_checkpoint", {"name": "x", "model_id": "m", "overwrite": True}),
        ("wait_job", {"job_id": "job-none"}),
    ]
    for _ in range(60):
        message = raw(caller.address, *rng.choice(calls))
        with connected(caller.address) as client:
            client.sendall(message[: len(message) if rng.random() < 0.7 else rng.randrange(len(message))])
            threading.Event().wait(rng.random() * 0.05)
    assert settled(lambda: sum(job["status"] in ("running", "queued") for job in jobs(caller)), 0), jobs(caller)
    assert settled(lambda: open_files(web), before + 3)
    assert caller.call("train_step", model_id="m", dataset_id="d", steps=1, batch_size=2, wait_s=30)["status"] == "completed"


def jobs(caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.call("list_jobs", limit=50)["jobs"]
    return found


def test_connections_that_send_nothing_are_no_burden(web: Victim, caller: Caller) -> None:
    idle = [connected(caller.address) for _ in range(200)]
    for number, client in enumerate(idle):
        client.sendall(raw(caller.address, "list_models", {})[: number % 150])
    for _ in range(20):
        assert caller.call("infer", model_id="m", prompt="a", max_new_bytes=1)["num_bits"] == 9
    for client in idle:
        client.close()


@pytest.mark.slow
def test_streams_that_nobody_reads_are_no_burden(web: Victim, caller: Caller) -> None:
    url = urlsplit(caller.address)
    streams = [connected(caller.address) for _ in range(20)]
    for client in streams:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET /api/events HTTP/1.1\r\nhost: {url.netloc}\r\n\r\n".encode())
    training = {"model_id": "m", "dataset_id": "d", "batch_size": 2}
    caller.call("train_step", **training, steps=200, wait_s=30)
    before = memory_mib(web)
    caller.call("train_step", **training, steps=600, wait_s=45)
    assert memory_mib(web) < before + 30
    for client in streams:
        client.close()


def test_a_flood_is_held_back_and_harms_nobody_else(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with victim(state, http=True, port=0, calls_per_second=20) as web:
        address = web.address()

        def flood(_: int) -> tuple[int, int]:
            answered = refused = 0
            with httpx2.Client(timeout=60) as http:
                for _ in range(100):
                    try:
                        Caller(address, http).call("list_models")
                        answered += 1
                    except Refused as no:
                        assert "calls" in str(no) and "second" in str(no), no
                        refused += 1
            return answered, refused

        with ThreadPoolExecutor(8) as threads:
            counts = list(threads.map(flood, range(8)))
        assert sum(answered for answered, _ in counts) >= 40 and sum(refused for _, refused in counts) > 100
        assert httpx2.get(f"{address}/ready", timeout=30).status_code == 200
        assert "Traceback" not in web.log.read_text()


def test_answers_that_are_not_read_do_not_pile_up(tmp_path: Path) -> None:
    number = 3000
    with victim(tmp_path / "state") as server:
        sender = threading.Thread(target=lambda: [server.send_call(1000 + index, "list_models") for index in range(number)])
        sender.start()
        sender.join(1)
        assert sender.is_alive()  # the server has stopped to read, and the pipe is full
        ids = [server.receive()["id"] for _ in range(number)]
        sender.join()
        assert sorted(ids) == list(range(1000, 1000 + number))
        assert server.call("list_models")["models"] == []


def test_rubbish_is_answered_or_ignored(tmp_path: Path) -> None:
    rng = random.Random(4)
    pieces = [b"{", b"}", b'"id":1', b'"method"', b"[]", b"null", b"\xff\xfe", b"\x00", b'{"jsonrpc":"2.0"}', b"1e999"]
    pieces.append(b"[" * 2000)
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    with victim(tmp_path / "state") as server:
        for _ in range(300):
            server.send_bytes(b"".join(rng.choices(pieces, k=rng.randrange(1, 8))) + b"\n")
        server.send_bytes(b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":' + deep + b"}\n")
        server.send_call(77, "list_models")
        while server.receive().get("id") != 77:
            pass
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
