"""The gate of tool calls: a limit for each client, and a record of every call."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from mcp import Client
from pydantic import Field

from bitlm_core import ModelStateError
from bitlm_mcp import call_gate
from bitlm_mcp.activity import Call
from bitlm_mcp.call_gate import CallGate, CallLog, RateLimit, storable
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.server import build_server


class Answer(Result):
    """An answer."""

    number: int


async def ask(
    model_id: Annotated[str, Field(max_length=64, description="The model that is to be asked.")],
) -> Answer:
    """Answer with a number, or refuse."""
    if model_id == "bad":
        raise ModelStateError("not this one: take another")
    return Answer(number=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_bucket_fills_again_and_each_client_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(call_gate.time, "monotonic", lambda: now)
    limit = RateLimit(5)
    assert [limit.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert limit.wait_s("a") == pytest.approx(0.2) and limit.wait_s("b") == 0.0
    now += 0.1
    assert limit.wait_s("a") == pytest.approx(0.1)
    now += 0.11
    assert limit.wait_s("a") == 0.0 and limit.wait_s("a") > 0
    now += 3600
    assert [limit.wait_s("a") for _ in range(11)].count(0.0) == 10


def test_clients_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_gate, "MAX_CLIENTS", 10)
    limit = RateLimit(5)
    for number in range(1000):
        limit.wait_s(str(number))
    assert len(limit._buckets) == 10


@pytest.mark.anyio
async def test_calls_over_the_limit_are_refused_and_all_are_told() -> None:
    seen: list[Call] = []
    specs = [ToolSpec(ask, "Ask", read_only=True, destructive=False, idempotent=True)]
    async with Client(build_server(specs, middleware=[CallGate(2.0, seen.append)])) as client:
        await client.list_tools()
        answers = [await client.call_tool("ask", {"model_id": name}) for name in ("m", "bad", "m", "m", "m")]
    assert [answer.is_error for answer in answers] == [False, True, False, False, True]
    text: Any = answers[-1].content[0]
    assert "more than 2 per second" in text.text and "wait_job" in text.text
    assert [(call.tool, call.model_id, call.outcome) for call in seen] == [
        ("ask", "m", "ok"),
        ("ask", "bad", "error"),
        ("ask", "m", "ok"),
        ("ask", "m", "ok"),
        ("ask", "m", "error"),
    ]
    assert seen[1].message == "not this one: take another" and "too many" in str(seen[-1].message)
    assert all(call.duration_ms >= 0 and call.client for call in seen)


def test_what_clients_send_can_be_stored() -> None:
    assert storable("a\ud800b") == "a\\ud800b" and storable("é" * 100) == "é" * 80


def test_calls_that_nobody_fetches_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    log = CallLog()
    call = Call(0.0, "c", "t", None, 1.0, "ok", None)
    log.add(call)
    assert log.take() == [call] and log.take() == []
    for _ in range(call_gate.MAX_WAITING_CALLS + 5):
        log.add(call)
    assert len(log.take()) == call_gate.MAX_WAITING_CALLS
