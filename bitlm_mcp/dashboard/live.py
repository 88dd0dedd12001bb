"""The page's events: one stream per open page, all fed from one ring, which holds each event as it is sent.

    GET /api/events               text/event-stream; `Last-Event-ID` or ?after=ID: what followed that event
    GET /api/models/{model_id}    the settings of one model

    event: state    all that the page shows, see `page_state`; the first event, unless it can go on where it was
    event: change   what has changed since the event before
    event: alive    nothing has for a while; it has no number, and scripts see it, unlike a comment

    Workspace.changes ─→ Live.run ─→ ring ─┬─→ stream ─→ page
                                           └─→ stream ─→ page

At most one event is made per `INTERVAL_S`, fewer for many pages, and none while nobody looks on. A page that is too slow for
the ring, or comes back too late, gets the whole state instead of what it has missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import islice

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitlm_mcp.dashboard.page_state import PageState, change
from bitlm_mcp.dashboard.wire import answer, failure, to_json
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.freshness import caught_up
from bitlm_mcp.snapshot import Snapshot
from bitlm_mcp.workspace import Workspace

INTERVAL_S = 0.1
INTERVAL_PER_STREAM_S = 0.006
"""Sending costs 0.07 ms of CPU per page: with this, however many look on, they take little more than 1 % of a core."""
HEARTBEAT_S = 15.0
FORGET_S = 60.0
"""How long a page that was the only one may be away and go on where it was."""
MAX_EVENTS = 256
MAX_BYTES = 1 << 20
MAX_STREAMS = 512
RETRY_MS = 1000
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Ring:
    """The latest events as they are sent, by their numbers, which have no gaps; bounded in number and size."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self.number = 0
        """Of the latest event, whether it is still here or not."""

    def add(self, text: bytes) -> None:
        """Keep the next event; the oldest make room, and one that is too large takes all of it and is not kept."""
        self.number += 1
        self._events.append(text)
        self._bytes += len(text)
        while len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._events.popleft())

    def clear(self) -> None:
        """Forget all events; whoever knew the last one does not know what follows."""
        self._events.clear()
        self._bytes = 0
        self.number += 1

    def after(self, number: int) -> list[bytes] | None:
        """The events after that one; None where some of them are not here."""
        missed = self.number - number
        if not 0 <= missed <= len(self._events):
            return None
        return list(islice(self._events, len(self._events) - missed, None))


class Live:
    """The events of one process. `run` makes them, in the background; used on the event loop."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._page = PageState(workspace)
        self._ring = Ring()
        self._told: Snapshot | None = None
        self._streams = 0
        self._stopping = False
        self._watched = asyncio.Event()
        self._current = asyncio.Event()
        self._next = asyncio.Event()
        self._rendering = asyncio.Lock()

    async def run(self) -> None:
        """Make events for as long as the server lives, while somebody looks on."""
        try:
            while True:
                await self._until_watched()
                with self._workspace.changes.watch() as watch:
                    while self._streams:
                        await self._look()
                        self._current.set()
                        await anyio.sleep(INTERVAL_S + INTERVAL_PER_STREAM_S * self._streams)
                        await watch.next(HEARTBEAT_S)
                self._current.clear()
        finally:
            self.stop()

    def stop(self) -> None:
        """End all streams: the server goes, and would wait for them."""
        self._stopping = True
        self._current.set()
        self._wake()

    def routes(self) -> list[BaseRoute]:
        """What this module answers."""
        return [Route("/api/events", self._events), Route("/api/models/{model_id}", self._model)]

    async def _until_watched(self) -> None:
        """Wait for a page. After a while what was told is forgotten: nobody will ask for what followed it."""
        try:
            async with asyncio.timeout(FORGET_S):
                await self._watched.wait()
        except TimeoutError:
            self._told = None
            self._ring.clear()
            await self._watched.wait()

    async def _look(self) -> None:
        """Tell what has changed since the last time."""
        before, now = self._told, self._workspace.snapshot
        if before is now:
            return
        text = None if before is None else await run_in_threadpool(self._change, before, now, self._ring.number + 1)
        self._told = now
        if text is not None:
            self._ring.add(text)
            self._wake()

    def _change(self, before: Snapshot, now: Snapshot, number: int) -> bytes | None:
        told = change(before, now)
        return None if told is None else self._text("change", number, to_json(told))

    def _wake(self) -> None:
        reached, self._next = self._next, asyncio.Event()
        reached.set()

    def _text(self, name: str, number: int, body: bytes) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._page.boot.encode(), number, name.encode(), body)

    async def _events(self, request: Request) -> ASGIApp:
        """The stream of one page."""
        if self._stopping or self._workspace.closing:
            return failure(503, "the server is stopping: come back when it has been started anew")
        if self._streams >= MAX_STREAMS:
            return failure(
                503, f"{self._streams} pages are open already, the limit: close some, or read /api/status now and then"
            )
        if request.method == "HEAD":
            return Response(headers={name.decode(): value.decode() for name, value in HEADERS})
        known = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return _Stream(self, self._number_of(known))

    def _number_of(self, event_id: str) -> int | None:
        """The number in an event's id; None for one that is not of this process."""
        boot, _, number = event_id.partition("-")
        known = boot == self._page.boot and number.isascii() and number.isdigit() and len(number) < 18
        return int(number) if known else None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it lasts, events are made."""
        self._streams += 1
        self._watched.set()
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams:
                self._watched.clear()

    async def texts(self, number: int | None) -> AsyncIterator[bytes]:
        """What to send to a page that knows that event: from time to time something, until the server goes."""
        await self._current.wait()
        while not self._stopping:
            reached = self._next
            missed = None if number is None else self._ring.after(number)
            if missed is None:
                number, text = await self._state()
                yield text
            elif missed:
                number = self._ring.number
                yield b"".join(missed)
            elif not await _reached(reached):
                yield b"event: alive\ndata:\n\n"

    async def _state(self) -> tuple[int, bytes]:
        """The whole state as of the latest event, and its number."""
        async with self._rendering:
            told, number = self._told, self._ring.number
            assert told is not None  # noqa: S101 - `_current` was waited for
            body = await run_in_threadpool(self._page.render, told)
        return number, self._text("state", number, body)

    async def _model(self, request: Request) -> Response:
        await caught_up(self._workspace)
        snapshot, model_id = self._workspace.snapshot, request.path_params["model_id"]
        if model_id not in snapshot.models:
            unknown = UnknownHandleError("model", model_id, list(snapshot.models), "read /api/status for the models")
            return failure(404, unknown.message)
        about = {"boot": self._page.boot, "version": snapshot.version, "model_id": model_id}
        return answer(about | {"config": snapshot.models[model_id].config})


class _Stream:
    """The answer to one page: as events come, until it goes. Its sends wait for a slow reader; nothing is kept for one."""

    def __init__(self, live: Live, number: int | None) -> None:
        self._live = live
        self._number = number

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events; what the client sends meanwhile can only be that it leaves."""
        with self._live.watching():
            async with anyio.create_task_group() as group:
                group.start_soon(self._send, send, group.cancel_scope)
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

    async def _send(self, send: Send, both: anyio.CancelScope) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send(_part(b"retry: %d\n\n" % RETRY_MS))
        async for text in self._live.texts(self._number):
            await send(_part(text))
        await send(_part(b"", more=False))
        both.cancel()


def _part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _reached(event: asyncio.Event) -> bool:
    """Wait for the next event; False where it is time to show that the connection lives."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await event.wait()
    except TimeoutError:
        return False
    return True
