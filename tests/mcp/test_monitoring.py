"""Metrics, readiness and logs: what operators watch."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bitlm_mcp import monitoring
from bitlm_mcp.activity import Call
from bitlm_mcp.assembly import assemble
from bitlm_mcp.call_gate import CallGate
from bitlm_mcp.logs import JsonLines
from bitlm_mcp.monitoring import Monitoring
from bitlm_mcp.settings import ServerSettings
from tests.mcp.workspaces import Server, server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "state") as made:
        yield made


def values(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_metrics_are_the_snapshot_and_the_calls(made: Server) -> None:
    made.data()
    made.create()
    made.trained(steps=2)
    watching = Monitoring(made.workspace, ["infer"])
    for tool, outcome in (("infer", "ok"), ("infer", "error"), ("any name at all", "error"), ("another", "error")):
        watching.observe(Call(0.0, "c", tool, None, 30.0, outcome, None))
    client = TestClient(Starlette(routes=watching.routes()))
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    found = values(response.text)
    model = made.workspace.model("m")
    assert found['bitlm_model_step{model="m"}'] == 2 and found['bitlm_model_loss{model="m"}'] == pytest.approx(
        model.latest("loss")
    )
    assert found['bitlm_model_k{model="m"}'] == pytest.approx(model.latest("k"))
    assert found['bitlm_tool_calls_total{outcome="ok",tool="infer"}'] == 1
    assert found['bitlm_tool_calls_total{outcome="error",tool="unknown"}'] == 2
    assert found['bitlm_tool_seconds_bucket{le="0.1",tool="infer"}'] == 2
    assert found['bitlm_jobs{status="completed"}'] == 2 and found["bitlm_models"] == found["bitlm_datasets"] == 1
    assert found["process_resident_memory_bytes"] > 1e6


@pytest.mark.anyio
async def test_a_loop_that_is_late_shows(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "LAG_EVERY_S", 0.001)
    watched = Monitoring(made.workspace, [])
    async with anyio.create_task_group() as group:
        group.start_soon(watched.watch_loop)
        await anyio.sleep(0.01)
        time.sleep(0.06)  # the fault that is to be seen
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    found = values(generate_latest(watched._registry).decode())
    assert found["bitlm_event_loop_lag_seconds_count"] > found['bitlm_event_loop_lag_seconds_bucket{le="0.05"}']


def test_readiness_follows_the_workspace(made: Server) -> None:
    client = TestClient(Starlette(routes=Monitoring(made.workspace, []).routes()))
    assert client.get("/ready").json() == {"status": "ready"}
    made.close()
    response = client.get("/ready")
    assert (response.status_code, response.json()) == (503, {"status": "stopping"})
    made.workspace.closing = made.workspace.leaving = False  # as if the directory had gone away under a server that lives
    response = client.get("/ready")
    assert response.status_code == 503 and "cannot be read" in response.json()["status"]
    made.workspace.closing = True


def test_calls_are_recorded_at_the_latest_when_the_server_stops(tmp_path: Path) -> None:
    parts = assemble(ServerSettings(state_dir=tmp_path / "state"))
    (gate,) = (layer for layer in parts.server.middleware if isinstance(layer, CallGate))
    call = Call(time.time(), "c", "infer", "m", 30.0, "ok", None)
    gate._observed(call)
    parts.on_stop()
    with server(tmp_path / "state") as again:
        assert again.workspace.records.latest_calls(10) == [call]


def test_log_lines_are_json_with_the_exception() -> None:
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("bitlm.x", logging.ERROR, "f", 1, "two\nlines %s", ("ä",), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("error", "bitlm.x", "two\nlines ä")
    assert "KeyError" in found["exception"] and found["time"].endswith("+00:00")
