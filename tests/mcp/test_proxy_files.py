"""The example configurations of proxies name what the servers have; where nginx or Caddy is installed, they are tried."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dummy_process import LEGACY, ROOT, STOP_S, until
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import LATEST_MODERN_VERSION
from starlette.routing import Route
from typer.main import get_command

from bitlm_mcp.assembly import assemble
from bitlm_mcp.cli import app
from bitlm_mcp.dashboard.live import HEARTBEAT_S
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.transports import listen
from tests.mcp.fleet import Caller, Fleet, fleet
from tests.mcp.whole_server import TEXT, TINY

FILES = {path.name: path.read_text() for path in sorted((ROOT / "examples" / "proxy").iterdir())}
HOST = "bitlm.example.org"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def numbers(pattern: str, text: str) -> list[int]:
    found = [int(number) for number in re.findall(pattern, text)]
    assert found, pattern
    return found


@pytest.mark.parametrize("name", FILES)
def test_what_a_configuration_names_is_what_the_servers_have(name: str, tmp_path: Path) -> None:
    text, defaults = FILES[name], ServerSettings(state_dir=tmp_path)
    lines = [shlex.split(line) for line in re.findall(r"^# +bitlm (serve .+)$", text, re.MULTILINE)]
    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    given = [serve.make_context("serve", list(line[1:])).params for line in lines]
    ports = [str(one["port"]) for one in given]
    assert ports[0] == str(defaults.port) and len(set(ports)) == 3
    assert sorted(re.findall(r"127\.0\.0\.1:(\d+)", text)) in (sorted(ports), sorted(ports * 2))
    for one in given:
        assert one["http"] and one["allow_host"] == [HOST] and one["trusted_proxy"] == ["127.0.0.1"]
        assert one["state_dir"] == given[0]["state_dir"]
        assert defaults.host == one["host"] == "127.0.0.1"
    assert text.count(HOST) > len(lines)
    assert f'"{LATEST_MODERN_VERSION}"' in text or f"Mcp-Protocol-Version {LATEST_MODERN_VERSION}" in text
    assert min(numbers(r"(?:read_timeout|response_header_timeout) (\d+)s", text)) > max(defaults.max_wait_s, HEARTBEAT_S)
    assert numbers(r"max_(?:body_size|size) +(\d+)(?:m|MiB)", text) == [defaults.max_upload_mib]
    parts = assemble(defaults)
    parts.on_stop()
    paths = {route.path for route in parts.routes if isinstance(route, Route)}
    assert set(re.findall(r"(?:location = |respond |health_uri )(/\w+)", text)) <= paths


@contextmanager
def running(name: str, servers: Fleet, folder: Path) -> Iterator[str]:
    """The proxy of a configuration in front of those servers, without TLS."""
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    text = FILES[name]
    for number, url in zip(sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", text))), servers.proxy.servers, strict=True):
        text = text.replace(f"127.0.0.1:{number}", url.removeprefix("http://"))
    config = folder / name
    if name == "nginx.conf":
        text = re.sub(r"    ssl_.*\n", "", text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};"))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        around = [f"{kind}_temp_path {folder}/{kind};" for kind in kinds] + ["access_log off;", text]
        config.write_text("\n".join([f"pid {folder}/pid; daemon off; events {{}} http {{", *around, "}"]))
        command = ["nginx", "-c", str(config), "-p", str(folder), "-e", "stderr"]
    else:
        text = text.replace(f"\n{HOST} {{", f"\nhttp://{HOST}:{port} {{\n\tbind 127.0.0.1\n")
        config.write_text("{\n\tadmin off\n}\n" + text)
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    environment = {"HOME": str(folder), "PATH": PATH}
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, env=environment) as process:
        try:
            until(lambda: answers(port) or process.poll() is not None, STOP_S, (folder / "log").read_text())
            assert process.poll() is None, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOP_S)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/ready", headers={"host": HOST}).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.anyio
@pytest.mark.parametrize("name", FILES)
async def test_a_proxy_that_is_installed_serves_by_it(name: str, tmp_path: Path) -> None:
    if shutil.which(name.removesuffix(".conf").removesuffix("file").lower(), path=PATH) is None:
        pytest.skip("that proxy is not installed")
    options: dict[str, Any] = {"allow_host": HOST, "trusted_proxy": "127.0.0.1"}
    with fleet(tmp_path / "state", **options) as made, running(name, made, tmp_path) as url, Caller(url) as client:
        client.http.headers["host"] = HOST
        client.call("add_dataset", dataset_id="data", text=TEXT)
        client.call("init_model", model_id="m", **TINY)
        job = client.call("train_step", model_id="m", dataset_id="data", steps=9, batch_size=2, wait_s=0)
        client.until("wait_job", lambda told: told["status"] == "completed", job_id=job["job_id"], wait_s=5)
        calls = client.http.get("/api/status").json()["calls"]
        assert calls and client.http.get("/metrics").status_code == 404
        # A legacy session stays with its server.
        async with (
            httpx2.AsyncClient(headers={"host": HOST}, timeout=30) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode="legacy") as legacy,
        ):
            assert legacy.protocol_version == LEGACY
            for _ in range(6):
                assert not (await legacy.call_tool("list_models", {})).is_error
        made.servers[0].kill()

        def served() -> Any:
            try:
                return client.call("list_models")["models"]
            except KeyError:  # what a proxy says itself has no type of content: until it knows, it may fail
                return None

        until(lambda: all(served() for _ in range(6)), STOP_S, "the proxy passes by who was killed")
