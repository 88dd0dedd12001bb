"""Word of changes in both eras: who asked is told, who stopped asking is not, and never more often than four times a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError

from bitlm_mcp import notifications
from bitlm_mcp.notifications import changes
from bitlm_mcp.snapshot import Snapshot
from tests.mcp.test_dashboard import model, point
from tests.mcp.whole_server import connected, prepare

LONG_S = 60
TRAIN = {"model_id": "m", "dataset_id": "data", "steps": 1, "batch_size": 2}


def uris(before: Snapshot, now: Snapshot) -> list[str]:
    return [event.uri if isinstance(event, ResourceUpdated) else "list" for event in changes(before, now)]


def test_only_what_differs_is_told() -> None:
    a, b = model("a", (point(1),)), model("b", ())
    before = Snapshot(version=1, models={"a": a, "b": b})
    assert uris(before, before) == []
    assert uris(before, replace(before, version=2)) == ["bitlm://status"]
    moved = replace(before, version=2, models={"a": replace(a, step=2), "b": b})
    assert uris(before, moved) == ["bitlm://status", "bitlm://models/a", "bitlm://models/a/telemetry"]
    warned = replace(before, version=2, models={"a": replace(a, alerts=("k drifted", "c drifted")), "b": b})
    assert uris(before, warned)[1:] == ["bitlm://models/a/alerts", "bitlm://models/a", "bitlm://models/a/telemetry"]
    fewer = replace(before, version=2, models={"a": a})
    assert uris(before, fewer) == ["bitlm://status", "list"]
    assert isinstance(changes(before, fewer)[-1], ResourcesListChanged)


class Heard:
    """What a legacy client was told."""

    def __init__(self) -> None:
        self.uris: list[str] = []

    async def __call__(self, message: Any) -> None:
        params = getattr(message, "params", None)
        if getattr(message, "method", "") == "notifications/resources/updated":
            self.uris.append(str(params.uri))

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(LONG_S):
            while not condition():
                await anyio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_a_legacy_client_is_told_until_it_unsubscribes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "INTERVAL_S", 0.0)
    heard = Heard()
    async with connected(tmp_path, "legacy", message_handler=heard) as (client, _):
        await prepare(client)
        await client.subscribe_resource("bitlm://models/m")
        await client.subscribe_resource("bitlm://models/m")
        await client.call_tool("train_step", TRAIN)
        await heard.until(lambda: "bitlm://models/m" in heard.uris)
        assert set(heard.uris) == {"bitlm://models/m"}
        await client.subscribe_resource("bitlm://status")
        await client.unsubscribe_resource("bitlm://models/m")
        heard.uris.clear()
        await client.call_tool("train_step", TRAIN)
        await heard.until(lambda: "bitlm://status" in heard.uris)
        assert set(heard.uris) == {"bitlm://status"}


@pytest.mark.anyio
async def test_a_modern_client_listens(tmp_path: Path) -> None:
    async with connected(tmp_path, "auto") as (client, _):
        await prepare(client)
        wanted = {"resources_list_changed": True, "resource_subscriptions": ["bitlm://models/m/telemetry"]}
        async with client.listen(**wanted) as subscription:

            async def until(expected: str) -> None:
                with anyio.fail_after(LONG_S):
                    async for event in subscription:
                        if expected == (event.uri if isinstance(event, ResourceUpdated) else "list"):
                            return

            await client.call_tool("train_step", TRAIN)
            await until("bitlm://models/m/telemetry")
            await client.call_tool("delete", {"kind": "model", "name": "m"})
            await until("list")


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_many_changes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "INTERVAL_S", 10_000.0)
    heard = Heard()
    async with connected(tmp_path, "legacy", message_handler=heard) as (client, _):
        await prepare(client)  # this was told, and the next word is far away
        await client.subscribe_resource("bitlm://status")
        for _ in range(3):
            await client.call_tool("train_step", TRAIN)
        assert len(heard.uris) <= 1


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_subscriptions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "MAX_SUBSCRIPTIONS", 2)
    async with connected(tmp_path, "legacy") as (client, _):
        for name in ("a", "b"):
            await client.subscribe_resource(f"bitlm://models/{name}")
        with pytest.raises(MCPError, match="2 subscriptions already"):
            await client.subscribe_resource("bitlm://models/c")
        await client.unsubscribe_resource("bitlm://models/a")
        await client.subscribe_resource("bitlm://models/c")
