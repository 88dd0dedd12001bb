"""Streams taken up again: what followed is replayed, to the session it was meant for and to no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCNotification

from bitlm_mcp.event_store import RecentEvents
from tests.mcp.whole_server import Web, web

LEGACY = "2025-11-25"
ACCEPT = {"accept": "application/json, text/event-stream"}


def note(number: int) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="n", params={"number": number})


async def replayed(events: RecentEvents, last: str) -> tuple[str | None, list[int]]:
    seen: list[int] = []

    async def send(event: EventMessage) -> None:
        message = event.message
        assert isinstance(message, JSONRPCNotification) and message.params is not None
        seen.append(message.params["number"])

    return await events.replay_events_after(last, send), seen


@pytest.mark.anyio
async def test_what_followed_on_the_same_stream_is_replayed() -> None:
    events = RecentEvents()
    ids = [await events.store_event("ab"[number % 2], note(number)) for number in range(6)]
    first = await events.store_event("a", None)
    assert await replayed(events, ids[0]) == ("a", [2, 4])
    assert await replayed(events, ids[3]) == ("b", [5])
    assert await replayed(events, first) == ("a", [])
    assert await replayed(events, "none") == (None, [])


@pytest.mark.anyio
async def test_the_oldest_make_room_for_the_number_and_for_the_bytes() -> None:
    events = RecentEvents(max_events=3)
    ids = [await events.store_event("a", note(number)) for number in range(5)]
    assert await replayed(events, ids[1]) == (None, [])
    assert await replayed(events, ids[2]) == ("a", [3, 4])
    size = len(note(1).model_dump_json())
    events = RecentEvents(max_bytes=2 * size)
    ids = [await events.store_event("a", note(number)) for number in range(4)]
    assert await replayed(events, ids[1]) == (None, [])
    assert await replayed(events, ids[2]) == ("a", [3])


class Session:
    """A legacy session by hand."""

    def __init__(self, server: Web, name: str) -> None:
        self.http = server.http
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": name, "version": "0"}}
        answer = self.post(1, "initialize", hello)
        self.headers = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}

    headers: dict[str, str] = {}  # noqa: RUF012 - replaced as soon as the session is there

    def post(self, request_id: int, method: str, params: dict[str, Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        return self.http.post("/mcp", json=body, headers=ACCEPT | self.headers)


def test_no_session_sees_the_events_of_another(tmp_path: Path) -> None:
    with web(tmp_path) as server:
        mine, yours = Session(server, "mine"), Session(server, "yours")
        for session, model_id in ((mine, "secret-of-mine"), (yours, "secret-of-yours")):
            answer = session.post(7, "tools/call", {"name": "get_telemetry", "arguments": {"model_id": model_id}})
            events = [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")]
            assert model_id in answer.text and len(events) == 2  # the first is for taking the stream up again
            (result,) = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            assert result["id"] == 7
        # Both streams have the same name and the same numbers; each session is replayed only its own.
        for session, own, other in ((mine, "secret-of-mine", "secret-of-yours"), (yours, "secret-of-yours", "secret-of-mine")):
            with session.http.stream("GET", "/mcp", headers=ACCEPT | session.headers | {"last-event-id": events[0]}) as stream:
                assert stream.status_code == 200
                seen = next(line for line in stream.iter_lines() if line.startswith("data: {"))
            assert own in seen and other not in seen
