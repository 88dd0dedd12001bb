"""`bitlm config`: every host gets a text that it can read, with the server in it, and no text has a token in it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from dummy_process import ENV
from mcp.client.stdio import StdioServerParameters

from bitlm_core import ConfigError
from bitlm_mcp.doctor import started
from bitlm_mcp.host_config import address_of, guide, snippet_for
from bitlm_mcp.host_entries import BLANK, ENTRIES, TOKEN, Address, Host, Launch
from tests.mcp.command_line import done, invoked

LAUNCH = Launch("/opt/bit lm/bin/bitlm", ("serve", "--state-dir", '/data/"x" 🙂'), "1.2.3")
ADDRESS = Address("https://models.example/mcp?a=b&c", token=True)
REACHED = [host for host in get_args(Host) if ENTRIES[host].reached]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def entry_of(host: Host, server: Launch | Address) -> dict[str, Any] | list[str]:
    """The entry that a host would find in a text: read as the language that it is said to be in, or the words of a command."""
    snippet = snippet_for(host, server)
    if snippet.language == "sh":
        return shlex.split(snippet.text)
    if snippet.language == "toml":
        return dict(tomllib.loads(snippet.text)["mcp_servers"]["bitlm"])
    if snippet.language == "yaml":
        first, second, *lines = snippet.text.splitlines()
        assert (first, second) == ("extensions:", "  bitlm:")
        # Each value is written as JSON, which YAML contains.
        return {name.strip(): json.loads(value) for name, _, value in (line.partition(": ") for line in lines)}
    read: dict[str, Any] = json.loads(snippet.text)
    if host == "mcpb":
        return dict(read["server"]["mcp_config"])
    return dict(next(part for part in read.values() if "bitlm" in part)["bitlm"])


def words(value: object) -> list[str]:
    """Every text in an entry, in order."""
    if isinstance(value, dict):
        return [word for part in value.values() for word in words(part)]
    if isinstance(value, list):
        return [word for part in value for word in words(part)]
    return [str(value)]


@pytest.mark.parametrize("host", get_args(Host))
def test_every_host_gets_a_text_that_starts_the_server(host: Host) -> None:
    found = words(entry_of(host, LAUNCH))
    start = found.index(LAUNCH.program)
    assert found[start : start + 4] == [LAUNCH.program, *LAUNCH.arguments]


@pytest.mark.parametrize("host", REACHED)
def test_every_host_gets_a_text_that_reaches_a_server(host: Host) -> None:
    with_token, without = entry_of(host, ADDRESS), entry_of(host, Address(ADDRESS.url, token=False))
    assert ADDRESS.url in words(with_token) and ADDRESS.url in words(without)
    text = snippet_for(host, ADDRESS).text
    assert TOKEN in text or BLANK in text or "${input:bitlm-token}" in text
    assert not re.search(rf"{TOKEN}|{BLANK}|Bearer|headers", snippet_for(host, Address(ADDRESS.url, token=False)).text)
    assert (BLANK in text) == (BLANK in snippet_for(host, ADDRESS).where)


def test_a_token_of_the_environment_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert "Bearer" not in done("config", "--http", "http://127.0.0.1:8765")
    monkeypatch.setenv(TOKEN, "not-to-be-printed-anywhere")
    shown = done("config", "--http", "http://127.0.0.1:8765")
    assert "Bearer" in shown and "http://127.0.0.1:8765/mcp" in shown and "not-to-be-printed" not in shown


def test_an_address_beyond_this_machine_always_has_a_token() -> None:
    assert address_of("https://models.example", token=False) == Address("https://models.example/mcp", token=True)
    assert address_of("http://[::1]:9/other?x=1", token=False) == Address("http://[::1]:9/other?x=1", token=False)
    for wrong in ("models.example", "ftp://models.example/mcp", "http://", "http://[::1", "http://localhost:99999/mcp"):
        with pytest.raises(ConfigError, match="is no address of a server"):
            address_of(wrong, token=False)


@pytest.mark.parametrize(
    ("url", "told"), [("http://10.0.0.5/mcp", True), ("https://10.0.0.5/mcp", False), ("http://127.0.0.1/mcp", False)]
)
def test_a_token_that_would_cross_a_network_in_the_open_is_warned_of(url: str, told: bool) -> None:
    address = Address(url, token=True)
    assert ("can read the token" in guide(address)) == told
    assert ("can read the token" in snippet_for("cursor", address).where) == told


@pytest.mark.parametrize(("url", "allowed"), [("http://[::1]:8765/mcp", True), ("https://10.0.0.5/mcp", False)])
def test_the_program_between_claude_desktop_and_an_address_takes_plain_http(url: str, allowed: bool) -> None:
    assert ("--allow-http" in snippet_for("claude-desktop", Address(url, token=True)).text) == allowed


def test_what_only_starts_servers_refuses_an_address() -> None:
    refused = invoked("config", "mcpb", "--http", "https://models.example/mcp")
    assert refused.exit_code == 2 and "mcpb only takes servers that it starts" in refused.stderr and "cursor" in refused.stderr


@pytest.mark.parametrize("server", [LAUNCH, ADDRESS])
def test_the_guide_has_the_text_for_every_host(server: Launch | Address) -> None:
    hosts = get_args(Host) if server is LAUNCH else REACHED
    told = guide(server)
    assert re.findall(r"^## (.+)$", told, re.MULTILINE) == [ENTRIES[host].title for host in hosts]
    for host in hosts:
        snippet = snippet_for(host, server)
        assert f"```{snippet.language}\n{snippet.text}\n```" in told and snippet.check in told and snippet.undo in told


@pytest.mark.anyio
async def test_the_command_prints_a_text_alone_and_it_starts_a_server(tmp_path: Path) -> None:
    ended = invoked("config", "cursor", "--state-dir", tmp_path / "state", "--allow-dir", tmp_path)
    entry = json.loads(ended.stdout)["mcpServers"]["bitlm"]
    assert entry["args"] == ["serve", "--state-dir", str(tmp_path / "state"), "--allow-dir", str(tmp_path)]
    assert "mcp.json" in ended.stderr and "to undo it" in ended.stderr
    start = await started(StdioServerParameters(command=entry["command"], args=entry["args"], env=ENV))
    assert start.num_tools > 20
