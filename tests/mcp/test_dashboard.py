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

from bitlm_core import EngineConfig
from bitlm_mcp import dashboard
from bitlm_mcp.dashboard.routes import MAX_BODY, MAX_POINTS, dashboard_routes
from bitlm_mcp.history import thinned
from bitlm_mcp.operations.telemetry import settings
from bitlm_mcp.security import Guard
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import OF_SOME, CheckpointView, DatasetView, HistoryPoint, JobView, ModelView, Snapshot
from bitlm_mcp.workspace import Workspace
from tests.mcp.workspaces import server

STATIC = Path(dashboard.__file__).parent / "static"
SHIPPED = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "settings.js": "text/javascript; charset=utf-8",
}


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
        models={"main": model("main", tuple(map(point, range(1, 2501)))), "fresh": model("fresh", ())},
        jobs={"job-1": JobView("job-1", "train_step", "main", "running", 0.5, 5, 10, math.inf, 3.0, 1.0, None, None)},
        datasets={"text": DatasetView("text", 10, 9, 1, "ab" * 32, "text")},
        checkpoints={"best": CheckpointView("best", 5, 100, "cd" * 32, "2026-01-01T00:00:00+00:00", "main", False)},
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


def test_status_is_the_summary(client: TestClient) -> None:
    response = client.get("/api/status")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert response.headers["etag"] == f'"{body.pop("boot")}-7"'
    expected = snapshot().summary() | {"read_only": False}
    expected["jobs"][0] |= {"bytes_per_second": None, "growths": []}  # infinite, and a tuple: JSON has neither
    assert body == expected


def test_status_without_change_costs_nothing(client: TestClient, workspace: Workspace) -> None:
    tag = client.get("/api/status").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        same = client.get("/api/status", headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    workspace.snapshot = replace(workspace.snapshot, version=8)
    changed = client.get("/api/status", headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 8)


def test_another_process_has_other_tags(workspace: Workspace) -> None:
    """A page that outlives the server must not be told 304 by the next one, whose versions begin anew."""
    tags = {client_of(workspace).get("/api/status").headers["etag"] for _ in range(2)}
    assert len(tags) == 2


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


JSON = {"content-type": "application/json"}


def test_a_job_can_be_cancelled(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.data()
        made.create()
        job = made.train(seconds=60)
        made.until_step(2)
        client = client_of(made.workspace)
        path = f"/api/jobs/{job.job_id}/cancel"
        assert client.post(path).status_code == 415
        assert client.post(path, headers=JSON | {"origin": "https://evil.example"}).status_code == 403
        assert not made.workspace.job(job.job_id).over
        response = client.post(path, headers=JSON)
        assert (response.status_code, response.json()) == (202, {"job_id": job.job_id})
        assert made.ended(job.job_id).status == "cancelled"
        assert client.post(path, headers=JSON).status_code == 202  # once more changes nothing
        unknown = client.post("/api/jobs/job-none/cancel", headers=JSON)
        assert unknown.status_code == 404 and "no job 'job-none'" in unknown.json()["error"]


def test_with_read_only_nothing_can_be_cancelled(tmp_path: Path) -> None:
    with server(tmp_path / "state", read_only=True) as made:
        client = client_of(made.workspace)
        refused = client.post("/api/jobs/job-none/cancel", headers=JSON)
        assert refused.status_code == 403 and "--read-only" in refused.json()["error"]
        assert client.post("/api/models/m/settings", json={"lambda_k": 2}).status_code == 403
        assert client.get("/api/status").json()["read_only"] is True


def test_a_model_is_watched_as_the_page_says(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.create()
        client, path = client_of(made.workspace), "/api/models/m/settings"
        assert client.get(path).json()["settings"]["lambda_k"] == 1
        assert client.post(path, json={"lambda_k": 2.5}, headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post(path, content="{}", headers={"content-type": "text/plain"}).status_code == 415
        for body, named in (({"drift_window": 0}, "drift_window=0"), ({"more": 1}, "more=1"), ([1], "no JSON object")):
            refused = client.post(path, json=body)
            assert refused.status_code == 400 and named in refused.json()["error"]
        assert client.post("/api/models/none/settings", json={}).status_code == 404
        assert client.post(path, json={"more": "x" * MAX_BODY}).status_code == 413
        assert client.get(path).json()["settings"]["lambda_k"] == 1
        saved = client.post(path, json={"lambda_k": 2.5, "floor_s": 0.25, "profile": "standard"})
        assert saved.status_code == 200 and saved.json() == client.get(path).json()
        assert (saved.json()["settings"]["lambda_k"], saved.json()["settings"]["floor_s"]) == (2.5, 0.25)
        assert made.workspace.model("m").config["telemetry"]["lambda_k"] == 2.5


def test_the_form_has_every_setting_and_no_other() -> None:
    named = re.findall(r'<(?:input|select) name="(\w+)"', (STATIC / "index.html").read_text())
    assert sorted(named) == sorted(settings(EngineConfig().model_dump()))


@pytest.mark.parametrize("route", ["/", "/static/style.css", "/api/status", "/api/models/main/history"])
def test_everything_else_is_read_only(client: TestClient, route: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(method, route).status_code == 405


def test_page_and_static_files(client: TestClient) -> None:
    assert {path.name for path in STATIC.iterdir()} == set(SHIPPED)
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
    assert "style.css" in response.json()["error"]


def test_page_keeps_to_the_policy() -> None:
    """default-src 'self': no inline script or style, no handler attributes, nothing from elsewhere."""
    html = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|data:", html, re.IGNORECASE) == []
    for name in SHIPPED:
        text = (STATIC / name).read_text().replace('"http://www.w3.org/2000/svg"', "")  # a namespace, never fetched
        assert re.findall(r"https?:|//[a-z0-9-]+\.|@import|url\(", text) == [], name
    for name in ("dashboard.js", "chart.js", "settings.js"):
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|setAttribute\(\"style"
        assert re.findall(forbidden, (STATIC / name).read_text()) == [], name


def test_page_has_its_regions_and_ids() -> None:
    html = (STATIC / "index.html").read_text()
    for region in ("header", "main", "footer"):
        assert html.count(f"<{region}>") == html.count(f"</{region}>") == 1
    for heading in ("Models", "Selected model", "Drift alerts", "Jobs", "Datasets", "Checkpoints"):
        assert f">{heading}</h" in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    # What the scripts look up must exist: a typo would only show in a browser.
    script = (STATIC / "dashboard.js").read_text()
    used = set(re.findall(r'(?:page|fillTable)\("([^"]+)"', script))
    used |= {f"{table}-empty" for table in re.findall(r'fillTable\("([^"]+)"', script)}
    assert used
    assert used <= set(ids)
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(ids)
