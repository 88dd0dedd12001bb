"""The guard: every route refuses strange hosts, foreign origins and wrong tokens, and hardens every answer."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from bitlm_mcp.app import Assembly, build_app
from bitlm_mcp.assembly import assemble
from bitlm_mcp.security import OPEN_PATHS, Guard, split_host
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from tests.mcp.command_line import invoked

TOKEN = "-".join(("correct", "horse", "battery", "staple"))
ROUTES = ["/", "/api/status", "/mcp", "/sse", "/messages/", "/messages/?session_id=0", "/health", "/no/such/route"]


async def page(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok", headers={"content-security-policy": "default-src *"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client_of(tmp_path: Path, base: str = "http://127.0.0.1:8765", **values: Any) -> httpx2.AsyncClient:
    settings = ServerSettings.model_validate({"state_dir": tmp_path} | values)
    app = build_app(build_server(()), settings, [Route("/", page), Route("/api/status", page)])
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=base)


def assert_hardened(response: httpx2.Response) -> None:
    policy = response.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy[0]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.anyio
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_every_route_refuses(tmp_path: Path, route: str, method: str) -> None:
    async with client_of(tmp_path, token=TOKEN) as client:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        attempts = [(421, bearer | {"host": "evil.example"}), (403, bearer | {"origin": "https://evil.example"})]
        if route != "/health":
            attempts += [(401, {}), (401, {"authorization": f"Bearer {TOKEN}x"})]
        for status, headers in attempts:
            response = await client.request(method, route, headers=headers)
            assert response.status_code == status
            assert_hardened(response)


@pytest.mark.anyio
async def test_pages_and_health_pass_hardened(tmp_path: Path) -> None:
    async with client_of(tmp_path, token=TOKEN) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        page_ = await client.get("/", headers={"authorization": f"bearer {TOKEN}"})
        assert page_.text == "ok"
        for response in (health, page_):
            assert_hardened(response)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:99", "127.0.0.1", "127.0.0.1:65535", "[::1]:8765", "[::1]", "localhost.", "bits.lan:1"],
)
async def test_hosts_that_are_ours(tmp_path: Path, host: str) -> None:
    async with client_of(tmp_path, allow_hosts=("bits.lan",)) as client:
        assert (await client.get("/", headers={"host": host})).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "127.0.0.1:x",
        "localhost/a",
        "localhost#",
        "localhost:99999",
        "[::1",
        "192.0.2.7",
        "2130706433",
    ],
)
async def test_hosts_that_are_not(tmp_path: Path, host: str) -> None:
    async with client_of(tmp_path) as client:
        assert (await client.get("/", headers={"host": host})).status_code == 421


@pytest.mark.anyio
async def test_open_server_answers_to_addresses_but_not_to_names(tmp_path: Path) -> None:
    async with client_of(tmp_path, host="::", insecure=True) as client:
        assert (await client.get("/", headers={"host": "192.0.2.7:8765"})).status_code == 200
        assert (await client.get("/", headers={"host": "rebound.example:8765"})).status_code == 421


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8765", 200),
        ("http://localhost:6274", 200),
        ("https://bits.lan:443", 403),
        ("http://bits.lan:1", 200),
        ("null", 403),
        ("", 403),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("file://localhost", 403),
        ("http://localhost@evil.example", 403),
    ],
)
async def test_origins(tmp_path: Path, origin: str, status: int) -> None:
    async with client_of(tmp_path, base="http://bits.lan:1", allow_hosts=("bits.lan",)) as client:
        assert (await client.get("/", headers={"origin": origin})).status_code == status


@pytest.mark.anyio
async def test_two_of_a_header_are_refused(tmp_path: Path) -> None:
    async with client_of(tmp_path, token=TOKEN) as client:
        good = ("authorization", f"Bearer {TOKEN}")
        assert (await client.get("/", headers=[good, ("host", "localhost"), ("host", "localhost")])).status_code == 421
        origin = ("origin", "http://localhost")
        assert (await client.get("/", headers=[good, origin, origin])).status_code == 403
        assert (await client.get("/", headers=[good, good])).status_code == 401


@pytest.mark.anyio
async def test_browsers_may_give_the_token_as_a_password(tmp_path: Path) -> None:
    async with client_of(tmp_path, token=TOKEN) as client:
        refused = await client.get("/", headers={"accept": "text/html"})
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert (await client.get("/")).headers["www-authenticate"].startswith("Bearer ")
        assert (await client.get("/", auth=("anyone", TOKEN))).status_code == 200
        bad = base64.b64encode(TOKEN.encode()).decode()
        for credentials in (f"Basic {bad}", "Basic !!!", "Basic", "Bearer", "Bearer ü", f"Digest {TOKEN}", TOKEN):
            headers = [(b"authorization", credentials.encode())]
            assert (await client.get("/", headers=headers)).status_code == 401


@pytest.mark.anyio
async def test_streams_are_not_buffered_and_web_sockets_are_refused(tmp_path: Path) -> None:
    arrived = anyio.Event()
    sent: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        # Only a guard that hands chunks on at once lets this end.
        await arrived.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"first":
            arrived.set()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    guard = Guard(stream, ServerSettings(state_dir=tmp_path))
    with anyio.fail_after(5):
        await guard({"type": "http", "path": "/", "headers": [(b"host", b"localhost")]}, receive, send)
        await guard({"type": "websocket", "path": "/", "headers": [(b"host", b"localhost")]}, receive, send)
    assert [message["type"] for message in sent[-2:]] == ["http.response.body", "websocket.close"]


def test_split_host() -> None:
    assert split_host("[::1]:80") == ("::1", "80")
    assert split_host("Name") == ("name", "")


# The whole server: every route there is, found in the application itself, so that none can be forgotten


def whole(tmp_path: Path, **values: Any) -> tuple[Starlette, Assembly]:
    settings = ServerSettings.model_validate({"state_dir": tmp_path / "state"} | values)
    parts = assemble(settings)
    return build_app(parts.server, settings, parts.routes), parts


def routes_of(app: Starlette) -> list[tuple[str, str]]:
    """Every method and path, with something in the place of parameters."""
    found = []
    for route in app.routes:
        path = re.sub(r"\{[^}]*\}", "x", getattr(route, "path", ""))
        assert path.startswith("/"), route
        methods = getattr(route, "methods", None) or {"GET", "POST", "DELETE"}
        found += [(method, path) for method in {*methods, "OPTIONS", "PUT"}]
    return found


@pytest.mark.anyio
async def test_no_route_of_the_whole_server_is_left_open(tmp_path: Path) -> None:
    app, parts = whole(tmp_path, token=TOKEN)
    routes = routes_of(app)
    assert {"/mcp", "/sse", "/", "/api/status", "/metrics", "/ready", "/health"} <= {path for _, path in routes}
    good = {"authorization": f"Bearer {TOKEN}"}
    attempts = [
        (421, good | {"host": "evil.example"}),
        (421, good | {"host": "127.0.0.1.evil.example"}),
        (403, good | {"origin": "https://evil.example"}),
        (403, good | {"origin": "null"}),
        (401, {}),
        (401, {"authorization": f"Bearer {TOKEN[:-1]}"}),
        (401, {"authorization": f"Bearer {TOKEN.upper()}"}),
    ]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8765") as client:
        for method, path in routes:
            for status, headers in attempts:
                if status == 401 and path in OPEN_PATHS:
                    continue
                response = await client.request(method, path, headers=headers)
                assert response.status_code == status, (method, path, headers)
                assert_hardened(response)
                assert TOKEN not in response.text
    parts.on_stop()


SHOWN = {"/", "/favicon.ico", "/api/status", "/api/session"}


@pytest.mark.anyio
async def test_an_open_page_shows_and_does_nothing_without_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, parts = whole(tmp_path, token=TOKEN, open_page=True)
    right, wrong, empty = ({"authorization": f"Bearer {secret}"} for secret in (TOKEN, TOKEN[1:], ""))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8765") as client:
        for headers, state in (({}, "needed"), (wrong, "needed"), (empty, "needed"), (right, "given")):
            session = await client.get("/api/session", headers=headers)
            assert session.json() == {"read_only": False, "token": state}
            assert_hardened(session)
        for method, path in routes_of(app):
            if path in OPEN_PATHS or path == "/api/events":  # which does not end
                continue
            shown = method in {"GET", "HEAD"} and (path in SHOWN or path.startswith(("/static/", "/api/models/")))
            for headers in ({}, wrong):
                response = await client.request(method, path, headers=headers | {"accept": "text/html"})
                assert (response.status_code != 401) == shown, (method, path)
                if not shown:
                    wanted = "Bearer" if path.startswith("/api/") else "Basic"
                    assert response.headers["www-authenticate"].startswith(wanted)
        for path in ("/api/models/%2e%2e/tools", "/static/%2e%2e/metrics"):
            assert (await client.get(path)).status_code == 404
        for path in ("/api/sessions", "/api/tools", "/metrics", "/static", "/api/models"):
            assert (await client.get(path)).status_code == 401
        for odd, status in (({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403)):
            assert (await client.get("/", headers=odd)).status_code == status
        assert (await client.get("/api/tools", headers=right)).status_code == 200
    assert "its token; the page is open" in caplog.text and TOKEN[1:] not in caplog.text
    parts.on_stop()


@pytest.mark.anyio
async def test_a_page_that_is_not_open_shows_nothing_and_opens_no_dialog_for_its_scripts(tmp_path: Path) -> None:
    async with client_of(tmp_path, token=TOKEN) as client:
        assert (await client.get("/")).status_code == 401
        refused = await client.get("/api/status", headers={"accept": "text/html"})
        assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104
def test_beyond_loopback_nothing_is_served_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.delenv("BITLM_TOKEN", raising=False)
    found = invoked("serve", "--http", "--host", host, "--port", "0", "--state-dir", tmp_path)
    assert found.exit_code == 2 and "no token is set" in found.stderr and found.stdout == ""
    assert not list(tmp_path.iterdir())


def test_the_token_is_in_no_log_and_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    app, parts = whole(tmp_path, token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for headers in ({"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Bearer {TOKEN}", "host": "evil.example"}, {}):
            answers = [client.get(path, headers=headers) for path in ("/", "/api/status", "/metrics", "/mcp")]
            assert all(TOKEN not in answer.text and TOKEN not in str(answer.headers) for answer in answers)
    parts.on_stop()
    assert "refused" in caplog.text and TOKEN not in caplog.text
    assert TOKEN not in repr(ServerSettings(state_dir=tmp_path, token=SecretStr(TOKEN)))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept
