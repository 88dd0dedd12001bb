"""The page's events: what a page assembles from them is what the server says, however it comes, goes and comes back."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from bitlm_mcp.activity import Call
from bitlm_mcp.app import build_app
from bitlm_mcp.dashboard import live as room
from bitlm_mcp.dashboard.live import Live, Ring
from bitlm_mcp.dashboard.routes import dashboard_routes
from bitlm_mcp.events import Changes
from bitlm_mcp.operations.models import delete
from bitlm_mcp.server import build_server
from bitlm_mcp.snapshot import CheckpointView, Snapshot
from bitlm_mcp.transports import WebServer, listen
from tests.mcp.whole_server import web
from tests.mcp.workspaces import Server, server, wait_until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Page:
    """A page that reads its stream by hand, and puts together what it is told."""

    def __init__(self, port: int, known: str = "") -> None:
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.request("GET", "/api/events", headers={"last-event-id": known} if known else {})
        self.response = self.connection.getresponse()
        self.state: dict[str, Any] = {}
        self.points: dict[str, list[dict[str, Any]]] = {}
        self.seen: list[str] = []
        self.last = ""

    def read(self) -> bool:
        """Take the next event; False at the end of the stream."""
        told: dict[str, str] = {}
        while line := self.response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            told |= {name: value} if name else {}
            if line == "\n" and "id" in told:
                self.last = told["id"]
                self.seen.append(told["event"])
                self._take(told["event"], json.loads(told["data"]))
                return True
        return False

    def until_it_says(self, at: Served) -> None:
        """Read until the page says what the server says; a version without any change is not told."""
        while ordered(self.state) | {"version": 0} != ordered(status(at)) | {"version": 0}:
            assert self.read()

    def close(self) -> None:
        self.response.close()
        self.connection.close()

    def _take(self, event: str, told: dict[str, Any]) -> None:
        if event == "state":
            self.state = told
            return
        keys = {"models": "model_id", "jobs": "job_id", "datasets": "dataset_id", "checkpoints": "name"}
        for model in told.get("models", ()):
            points = model.pop("points")
            known = self.points.get(model["model_id"], [])
            if model.pop("afresh", False):
                known = asked(self.port, f"models/{model['model_id']}/history")["points"]
            since = known[-1]["step"] if known else 0
            self.points[model["model_id"]] = known + [point for point in points if point["step"] > since]
        for kind, key in keys.items():
            gone, new = told.get("gone", {}).get(kind, ()), {one[key]: one for one in told.get(kind, ())}
            kept = {one[key]: one for one in self.state[kind] if one[key] not in gone}
            self.state[kind] = list((kept | new).values())
        self.state |= {name: told[name] for name in ("version", "servers", "calls") if name in told}


@dataclass
class Served:
    """A server without MCP's tools, behind a real socket."""

    made: Server
    live: Live
    port: int
    web: WebServer
    pages: list[Page] = field(default_factory=list)

    def page(self, known: str = "") -> Page:
        self.pages.append(Page(self.port, known))
        return self.pages[-1]

    def stop(self) -> None:
        self.web.should_exit = True


@contextmanager
def served(state: Path) -> Iterator[Served]:
    with server(state) as made:
        live = Live(made.workspace)
        routes = [*dashboard_routes(made.workspace), *live.routes()]
        app = build_app(build_server([]), made.workspace.settings, routes, [live.run])
        sock = listen("127.0.0.1", 0)
        behind = WebServer(app, made.workspace.settings, own_signals=False, on_leave=live.stop)
        thread = threading.Thread(target=behind.run, kwargs={"sockets": [sock]})
        thread.start()
        found = Served(made, live, sock.getsockname()[1], behind)
        try:
            wait_until(lambda: behind.started, "the server starts")
            yield found
        finally:
            found.stop()
            thread.join()
            for page in found.pages:
                page.close()


def ordered(state: dict[str, Any]) -> dict[str, Any]:
    keys = {"models": "model_id", "jobs": "job_id", "datasets": "dataset_id", "checkpoints": "name"}
    return state | {kind: sorted(state[kind], key=lambda one: one[key]) for kind, key in keys.items()}


def status(at: Served) -> dict[str, Any]:
    return asked(at.port, "status")


def asked(port: int, what: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/api/{what}")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def test_what_a_page_puts_together_is_what_the_server_says(tmp_path: Path) -> None:
    with served(tmp_path / "state") as at:
        page = at.page()
        headers = page.response.headers
        assert (headers["content-type"], headers["cache-control"]) == ("text/event-stream", "no-store")
        assert headers["x-accel-buffering"] == "no"
        assert page.read() and page.seen == ["state"]
        at.made.data()
        at.made.create("gone")
        at.made.create("m")
        at.made.trained("m", steps=6)
        page.until_it_says(at)
        delete(at.made.workspace, "model", "gone")
        at.made.tick()
        page.until_it_says(at)
        assert set(page.seen[1:]) == {"change"} and [one["model_id"] for one in page.state["models"]] == ["m"]
        recorded = [json.loads(json.dumps(point.plain())) for point in at.made.workspace.model("m").history]
        assert page.points["m"] == recorded and len(recorded) == 6
        at.made.create("m", overwrite=True)
        page.until_it_says(at)
        assert page.points["m"] == []  # it is another one, which has learned nothing


def test_a_page_that_comes_back_hears_what_it_has_missed(tmp_path: Path) -> None:
    with served(tmp_path / "state") as at:
        page = at.page()
        assert page.read()
        at.made.data()
        page.until_it_says(at)
        page.close()
        wait_until(lambda: at.live._streams == 0, "the page has gone")
        at.made.create("m")
        again = at.page(known=page.last)
        again.state = page.state
        again.until_it_says(at)
        assert set(again.seen) == {"change"}
        boot = page.last.partition("-")[0]
        for unknown in ("other-1", f"{boot}-999", f"{boot}-x", "x" * 2000, f"{boot}--1"):
            other = at.page(known=unknown)
            assert other.read() and other.seen == ["state"]


def test_open_pages_end_with_the_server_and_are_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), served(tmp_path / "state") as at:
        page = at.page()
        assert page.read()
        at.stop()
        assert not page.read()
        wait_until(lambda: at.live._streams == 0, "the page has gone")
    assert not caplog.records  # such as that running tasks had to be cancelled
    with pytest.raises(ConnectionRefusedError):
        at.page()


def test_who_asks_for_the_headers_alone_holds_no_stream(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        live = Live(made.workspace)
        with TestClient(
            build_app(build_server([]), made.workspace.settings, live.routes()), base_url="http://127.0.0.1"
        ) as web:
            found = web.head("/api/events")
            assert (found.status_code, found.headers["content-type"], live._streams) == (200, "text/event-stream", 0)


def test_no_more_pages_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_STREAMS", 1)
    with served(tmp_path / "state") as at:
        page = at.page()
        assert page.read()
        refused = at.page()
        assert refused.response.status == 503
        assert json.loads(refused.response.read())["error"].startswith("1 pages are open already, the limit")
        page.close()
        wait_until(lambda: at.live._streams == 0, "the page has gone")
        assert at.page().read()


def test_the_settings_of_one_model(tmp_path: Path) -> None:
    with web(tmp_path / "state") as whole:
        whole.prepared("m")
        found, status = (whole.http.get(f"/api/{name}").json() for name in ("models/m", "status"))
        assert (found["model_id"], found["boot"]) == ("m", status["boot"]) and found["version"] <= status["version"]
        assert found["config"]["model"]["d_model"] == 32
        assert "points" in whole.http.get("/api/models/m/history").json()
        unknown = whole.http.get("/api/models/none")
        assert unknown.status_code == 404 and "known: m" in unknown.json()["error"]


def test_another_server_is_seen_with_its_jobs_calls_and_leases(tmp_path: Path) -> None:
    with served(tmp_path / "state") as at, server(tmp_path / "state") as other:
        at.made.data()
        at.made.create("m")
        page = at.page()
        assert page.read()
        other.workspace.refresh()
        job = other.train("m", seconds=60)
        other.until_step(1)
        other.calls.add(Call(time.time(), "somebody", "infer", "m", 2.5, "ok", None))
        other.tick()
        at.made.tick()
        page.until_it_says(at)
        assert [(one["client"], one["tool"]) for one in page.state["calls"]] == [("somebody", "infer")]
        here, there = (next(one for one in page.state["servers"] if one["here"] is own) for own in (True, False))
        assert here["writes"] == [] and [one["model_id"] for one in there["writes"]] == ["m"]
        assert there["server_id"] == other.workspace.presence.server_id
        assert [one["status"] for one in page.state["jobs"] if one["job_id"] == job.job_id] == ["running"]
        other.workspace.runner.compute.stop_task(job.job_id)
        other.ended(job.job_id)
        at.made.tick()
        page.until_it_says(at)
        assert [one["writes"] for one in page.state["servers"]] == [[], []]


# Without a socket


@dataclass
class Fake:
    """As much of a workspace as the stream needs."""

    changes: Changes = field(default_factory=Changes)
    snapshot: Snapshot = field(default_factory=Snapshot)
    closing: bool = False
    server_id: str = "boot"
    read_only: bool = False

    @property
    def presence(self) -> Fake:
        return self

    settings = presence

    def move(self) -> None:
        """Something changes."""
        version = self.snapshot.version + 1
        name = f"c{version}"
        checkpoints = self.snapshot.checkpoints | {name: CheckpointView(name, version, 1, "", "", "", False)}
        self.snapshot = replace(self.snapshot, version=version, checkpoints=checkpoints)
        self.changes.tell()


@asynccontextmanager
async def running(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setattr(room, "INTERVAL_S", 0.0)
    monkeypatch.setattr(room, "INTERVAL_PER_STREAM_S", 0.0)
    workspace: Any = fake
    live = Live(workspace)
    async with anyio.create_task_group() as group:
        group.start_soon(live.run)
        yield live
        group.cancel_scope.cancel()


def told(text: bytes) -> tuple[str, int, Any]:
    """The kind of an event, its number, and what it says."""
    lines = dict(line.split(": ", 1) for line in text.decode().strip().split("\n"))
    return lines["event"], int(lines["id"].removeprefix("boot-")), json.loads(lines["data"])


@pytest.mark.anyio
async def test_a_reader_who_is_too_slow_gets_all_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_EVENTS", 3)
    fake = Fake()
    async with running(fake, monkeypatch) as live, aclosing(live.texts(None)) as slow, aclosing(live.texts(None)) as quick:
        with live.watching():
            assert told(await anext(slow))[:2] == told(await anext(quick))[:2] == ("state", 0)
            for number in range(1, 6):
                fake.move()
                kind, at, body = told(await anext(quick))
                assert (kind, at, body["version"]) == ("change", number, number)
                assert [one["name"] for one in body["checkpoints"]] == [f"c{number}"] and set(body) == {
                    "version",
                    "checkpoints",
                }
            kind, at, body = told(await anext(slow))
            assert (kind, at, len(body["checkpoints"])) == ("state", 5, 5)
            fake.move()
            assert told(await anext(slow))[:2] == ("change", 6)


@pytest.mark.anyio
async def test_nothing_is_made_while_nobody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Snapshot] = []
    fake, change = Fake(), room.change
    monkeypatch.setattr(room, "change", lambda before, now: (made.append(now), change(before, now))[1])
    async with running(fake, monkeypatch) as live:
        fake.move()
        await anyio.wait_all_tasks_blocked()
        assert not fake.changes._watches and live._told is None  # nobody has ever come
        with live.watching():
            async with aclosing(live.texts(None)) as reader:
                assert told(await anext(reader))[2]["version"] == 1
        for _ in range(50):
            fake.move()
            await anyio.wait_all_tasks_blocked()
        assert not made and not fake.changes._watches and live._ring.number == 0
        with live.watching():
            async with aclosing(live.texts(0)) as reader:  # it comes back, and hears of all that in one event
                kind, at, body = told(await anext(reader))
        assert (kind, at, len(body["checkpoints"]), made) == ("change", 1, 50, [fake.snapshot])


@pytest.mark.anyio
async def test_what_was_told_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FORGET_S", 0.001)
    fake = Fake()
    async with running(fake, monkeypatch) as live:
        with live.watching():
            async with aclosing(live.texts(None)) as reader:
                await anext(reader)
        fake.move()
        while live._told is not None:
            await anyio.sleep(0.001)
        with live.watching():
            async with aclosing(live.texts(0)) as reader:
                kind, _, body = told(await anext(reader))
        assert (kind, body["version"]) == ("state", 1)


@pytest.mark.anyio
async def test_a_quiet_stream_shows_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HEARTBEAT_S", 0.001)
    async with running(Fake(), monkeypatch) as live, aclosing(live.texts(None)) as reader:
        with live.watching():
            await anext(reader)
            assert [await anext(reader) for _ in range(2)] == [b"event: alive\ndata:\n\n"] * 2
            live.stop()
            with pytest.raises(StopAsyncIteration):
                await anext(reader)


def test_the_ring_is_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_EVENTS", 4)
    monkeypatch.setattr(room, "MAX_BYTES", 10)
    ring = Ring()
    assert ring.after(0) == [] and ring.after(1) is None and ring.after(-1) is None
    for text in (b"a", b"b", b"c", b"d", b"e"):
        ring.add(text)
    assert ring.after(1) == [b"b", b"c", b"d", b"e"] and ring.after(4) == [b"e"] and ring.after(5) == []
    assert ring.after(0) is None and ring.after(6) is None
    ring.add(b"f" * 8)
    assert ring.after(4) == [b"e", b"f" * 8] and ring.after(3) == [b"d", b"e", b"f" * 8]
    ring.add(b"g" * 11)  # larger than all
    assert ring.after(6) is None and ring.after(7) == []
    ring.clear()
    assert ring.after(7) is None and ring.after(8) == []
