"""The dashboard: what its routes answer, and that the page keeps to the content security policy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from bitlm_mcp import dashboard
from bitlm_mcp.activity import Call, ServerProcess, Writing
from bitlm_mcp.dashboard.routes import MAX_POINTS, dashboard_routes
from bitlm_mcp.history import thinned
from bitlm_mcp.security import Guard
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import OF_SOME, CheckpointView, DatasetView, HistoryPoint, JobView, Mark, ModelView, Snapshot
from bitlm_mcp.workspace import Workspace
from tests.mcp.workspaces import server

STATIC = Path(dashboard.__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SHIPPED = {path.name: f"{TYPES[path.suffix]}; charset=utf-8" for path in STATIC.iterdir()}
SCRIPTS = [name for name in SHIPPED if name.endswith(".js")]


def point(step: int, **values: Any) -> HistoryPoint:
    measured = 0.5 if step % 10 == 0 else None
    point = HistoryPoint(step, 2.0, 3.0, None, 1.0, 1e-3, measured, measured, measured)
    return replace(point, **values)


def model(model_id: str, history: tuple[HistoryPoint, ...]) -> ModelView:
    return ModelView(
        model_id=model_id,
        state="idle",
        step=history[-1].step if history else 0,
        architecture="byte_lm",
        num_parameters=1000,
        memory_estimate_bytes=4000,
        diffusion_steps=0,
        max_bytes=64,
        config={},
        job_id=None,
        history=history,
        alerts=("k drifted",),
    )


def snapshot() -> Snapshot:
    return Snapshot(
        version=7,
        models={
            "main": replace(model("main", tuple(map(point, range(1, 2501)))), marks=(Mark(20, "drift", "k drifted"),)),
            "fresh": model("fresh", ()),
        },
        jobs={"job-1": JobView("job-1", "train_step", "main", "running", 0.5, 5, 10, math.inf, 3.0, 1.0, None, None)},
        datasets={"text": DatasetView("text", 10, 9, 1, "ab" * 32, "text")},
        checkpoints={"best": CheckpointView("best", 5, 100, "cd" * 32, "2026-01-01T00:00:00+00:00", "main", False)},
        servers=(ServerProcess("ab", 7, "here", 1.0, True, (Writing("main", "train_step", 2.0, "job-1"),)),),
        calls=(Call(3.0, "test over stdio", "infer", None, 1.5, "error", "why"),),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(ServerSettings(state_dir=tmp_path))
    workspace.snapshot = snapshot()
    yield workspace
    workspace.close()


def client_of(workspace: Workspace) -> TestClient:
    guard = Middleware(Guard, settings=workspace.settings)
    app = Starlette(routes=dashboard_routes(workspace), middleware=[guard])
    return TestClient(app, base_url="http://127.0.0.1:8765")


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    return client_of(workspace)


def steps(client: TestClient, query: str, model_id: str = "main") -> list[int]:
    response = client.get(f"/api/models/{model_id}/history?{query}")
    assert response.status_code == 200, response.text
    return [point["step"] for point in response.json()["points"]]


def test_status_is_the_summary_and_more(client: TestClient) -> None:
    response = client.get("/api/status")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert response.headers["etag"] == f'"{body.pop("boot")}-7"'
    expected = snapshot().summary() | {"read_only": False}
    expected["jobs"][0] |= {"bytes_per_second": None, "growths": [], "preview": None}  # infinite, and a tuple: JSON has neither
    expected["models"][0]["marks"] = [{"step": 20, "kind": "drift", "text": "k drifted"}]
    expected["models"][1]["marks"] = []
    server = {"server_id": "ab", "pid": 7, "host": "here", "started": 1.0, "here": True}
    expected["servers"] = [
        server | {"writes": [{"model_id": "main", "purpose": "train_step", "since": 2.0, "job_id": "job-1"}]}
    ]
    call = {"at": 3.0, "client": "test over stdio", "tool": "infer", "model_id": None, "duration_ms": 1.5}
    expected["calls"] = [call | {"outcome": "error", "message": "why"}]
    assert body == expected


def test_status_without_change_costs_nothing(client: TestClient, workspace: Workspace) -> None:
    tag = client.get("/api/status").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        same = client.get("/api/status", headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    workspace.snapshot = replace(workspace.snapshot, version=8)
    changed = client.get("/api/status", headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 8)


def test_another_process_has_other_tags(workspace: Workspace, tmp_path: Path) -> None:
    """A page that outlives the server must not be told 304 by the next one, whose versions begin anew."""
    with server(tmp_path / "other") as other:
        other.workspace.snapshot = workspace.snapshot
        tags = [client_of(one).get("/api/status").headers["etag"] for one in (workspace, other.workspace)]
    assert tags[0] != tags[1] and all(tag.endswith('-7"') for tag in tags)


def test_not_a_number_becomes_null(client: TestClient, workspace: Workspace) -> None:
    history = (point(1, loss=math.nan, bits_per_byte=math.inf),)
    workspace.snapshot = replace(workspace.snapshot, models={"main": model("main", history)})
    assert client.get("/api/status").json()["models"][0]["loss"] is None
    shown = client.get("/api/models/main/history").json()["points"][0]
    assert (shown["loss"], shown["bits_per_byte"], shown["learning_rate"]) == (None, None, 1e-3)


def test_history_since_step(client: TestClient) -> None:
    assert steps(client, "since_step=2497") == [2498, 2499, 2500]
    assert steps(client, "since_step=2500") == []
    assert steps(client, "", "fresh") == []
    body = client.get("/api/models/main/history?since_step=2499").json()
    assert (body["version"], body["model_id"]) == (7, "main")
    assert body["points"][0]["k"] == 0.5
    assert set(body["points"][0]) == set(HistoryPoint.__slots__) - OF_SOME


def test_history_is_thinned_evenly(client: TestClient) -> None:
    assert steps(client, f"limit={MAX_POINTS}") == list(range(1, 2501))
    assert steps(client, "limit=1") == [2500]
    assert steps(client, "limit=2") == [1, 2500]
    for query, limit in (("", 1000), ("limit=", 1000), ("limit=333", 333)):
        thinned = steps(client, query)
        assert len(thinned) == limit
        assert (thinned[0], thinned[-1]) == (1, 2500)
        gaps = [right - left for left, right in pairwise(thinned)]
        assert min(gaps) >= 1
        assert max(gaps) <= 2 * math.ceil(2500 / limit)


@pytest.mark.parametrize("limit", [1000, 333, 252])
def test_thinning_keeps_the_rare_measurements(limit: int) -> None:
    """K, C, S come at every tenth step here: a fixed stride would meet few of them or none."""
    measured = [point for point in thinned(snapshot().models["main"].history, limit) if point.k is not None]
    assert len(measured) >= 240


@pytest.mark.parametrize(
    "query",
    ["limit=0", f"limit={MAX_POINTS + 1}", "limit=x", "limit=1.5", "limit=1_0", "limit=" + "9" * 5000, "limit=²",
     "since_step=-1", "since_step=nan", "since_step=" + "9" * 18, "since_step=%00"],
)  # fmt: skip
def test_history_refuses_odd_parameters(client: TestClient, query: str) -> None:
    response = client.get(f"/api/models/main/history?{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.startswith(query.partition("=")[0])
    assert "give a whole number from" in error
    assert len(error) < 300


@pytest.mark.parametrize("model_id", ["none", "MAIN", "a%2Fb", "%00", "x" * 3000, "%3Cscript%3E"])
def test_history_of_an_unknown_model(client: TestClient, model_id: str) -> None:
    response = client.get(f"/api/models/{model_id}/history")
    assert response.status_code == 404
    assert "known: main, fresh" in response.json()["error"]
    assert len(response.content) < 1000


@pytest.mark.parametrize("route", ["/", "/static/style.css", "/api/status", "/api/models/main/history"])
def test_everything_else_is_read_only(client: TestClient, route: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, route).status_code == 405


def test_page_and_static_files(client: TestClient) -> None:
    assert {"index.html", "style.css", "views.css", "dashboard.js", "chart.js"} <= set(SHIPPED)
    for name, media_type in SHIPPED.items():
        response = client.get(f"/static/{name}")
        assert response.content == (STATIC / name).read_bytes()
        assert response.headers["content-type"] == media_type
        assert response.headers["cache-control"] == "no-cache"
        assert client.get(f"/static/{name}", headers={"if-none-match": response.headers["etag"]}).status_code == 304
    assert client.get("/").content == (STATIC / "index.html").read_bytes()
    assert client.get("/").headers["content-type"] == SHIPPED["index.html"]
    assert client.get("/favicon.ico").status_code == 204


@pytest.mark.parametrize(
    "name",
    ["none.js", "%2e%2e/routes.py", "..%2froutes.py", "%2e%2e%2f%2e%2e%2fsecurity.py", "/etc/passwd", "%2fetc%2fpasswd",
     "style.css/", "style.css%00", "STYLE.CSS", ""],
)  # fmt: skip
def test_only_shipped_files_are_served(client: TestClient, name: str) -> None:
    response = client.get(f"/static/{name}")
    assert response.status_code == 404
    assert "known: " in response.json()["error"]


def test_page_keeps_to_the_policy() -> None:
    """default-src 'self': no inline script or style, no handler attributes, nothing from elsewhere."""
    html = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|data:", html, re.IGNORECASE) == []
    for name in SHIPPED:
        text = (STATIC / name).read_text().replace('"http://www.w3.org/2000/svg"', "")  # a namespace, never fetched
        assert re.findall(r"https?:|//[a-z0-9-]+\.|@import|url\(", text) == [], name
    for name in SCRIPTS:
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|setAttribute\(\"style"
        assert re.findall(forbidden, (STATIC / name).read_text()) == [], name


HEADINGS = {
    *("Begin", "Models", "Selected model", "Jobs", "Add data", "Work with it"),
    *("Datasets", "Checkpoints", "Tool calls", "Servers"),
}


def test_page_has_its_regions_and_ids() -> None:
    html = (STATIC / "index.html").read_text()
    for region in ("header", "main", "footer"):
        assert html.count(f"<{region}>") == html.count(f"</{region}>") == 1
    for heading in (
        "Models",
        "Selected model",
        "Jobs",
        "Add data",
        "Work with it",
        "Datasets",
        "Checkpoints",
        "Tool calls",
        "Servers",
    ):
        assert f">{heading}</h2>" in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    # What the scripts look up must exist: a typo would only show in a browser.
    script = (STATIC / "dashboard.js").read_text()
    used = set(re.findall(r'page\("([^"]+)"', script))
    used |= {f"{table}-card" for table in re.findall(r'new Table\("([^"]+)"', script)}
    assert used and used <= set(ids)
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(ids)


def test_scripts_name_what_there_is() -> None:
    """Every import names a file of the page, and something that this file gives: a typo would only show in a browser."""
    for name in SCRIPTS:
        for what, source in re.findall(r'import ([^"]+) from "./([^"]+)";', (STATIC / name).read_text()):
            assert source in SCRIPTS, (name, source)
            given = set(
                re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", (STATIC / source).read_text(), re.MULTILINE)
            )
            named = re.findall(r"\w+", what.strip("{} ")) if what.startswith("{") else []
            assert set(named) <= given, (name, source, set(named) - given)


def test_the_page_is_small() -> None:
    whole = sum((STATIC / name).stat().st_size for name in SHIPPED)
    assert whole <= 100 * 1024


def test_files_travel_packed(client: TestClient) -> None:
    packed = client.get("/static/dashboard.js")
    plain = client.get("/static/dashboard.js", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.content == plain.content == (STATIC / "dashboard.js").read_bytes()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
