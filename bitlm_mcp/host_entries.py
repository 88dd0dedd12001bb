"""What each host wants to read: the form of its entries, where they go, how to see that they work, how to undo them.

In: how the server is started (`Launch`), or where one listens (`Address`). The forms are the hosts' own. A token is never part
of a text: hosts that can are told which variable of the environment has it, and for the others a place is left.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bitlm_mcp.manifest import installed_manifest
from bitlm_mcp.settings import is_loopback

Host = Literal[
    "claude-code",
    "claude-desktop",
    "cline",
    "codex",
    "cursor",
    "gemini",
    "goose",
    "inspector",
    "jetbrains",
    "lm-studio",
    "mcpb",
    "opencode",
    "vscode",
    "windsurf",
    "zed",
]
Language = Literal["json", "sh", "toml", "yaml"]
TOKEN = "BITLM_TOKEN"  # noqa: S105 - the variable's name
BLANK = "PUT-THE-TOKEN-HERE"
ASK = "Ask the agent: which models does bitlm have? It calls `list_models`."


@dataclass(frozen=True)
class Launch:
    """How a host is to start the server: an absolute program and its arguments; and the program's version."""

    program: str
    arguments: tuple[str, ...]
    version: str

    @property
    def line(self) -> str:
        """The command as a shell reads it."""
        return shlex.join((self.program, *self.arguments))

    @property
    def entry(self) -> dict[str, object]:
        """The command as most hosts read it."""
        return {"command": self.program, "args": list(self.arguments)}


@dataclass(frozen=True)
class Address:
    """Where a server listens that somebody else has started: the URL of its /mcp, and whether it asks for a token."""

    url: str
    token: bool

    def headers(self, secret: str) -> dict[str, object]:
        """The part of an entry that carries the token, `secret` being what the host replaces by it; empty without one."""
        return {"headers": {"Authorization": f"Bearer {secret}"}} if self.token else {}

    @property
    def in_the_open(self) -> bool:
        """Whether a token would cross a network unencrypted."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")

    @property
    def option(self) -> str:
        """The same as the option of a command, to which the shell adds the token."""
        return f' --header "Authorization: Bearer ${TOKEN}"' if self.token else ""


@dataclass(frozen=True)
class Entry:
    """What there is to say about one host; `reached` is None where it only takes servers that it starts."""

    title: str
    language: Language
    where: str
    check: str
    undo: str
    started: Callable[[Launch], str]
    reached: Callable[[Address], str] | None


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _value(value: object) -> str:
    """On one line, as TOML and YAML write strings and lists too, if no letter is escaped as a pair of surrogates."""
    return json.dumps(value, ensure_ascii=False)


def _servers(**entry: object) -> str:
    """The form that most hosts share."""
    return _json({"mcpServers": {"bitlm": entry}})


def _desktop(address: Address) -> str:
    """Claude Desktop reaches only public servers by itself; a small program on the same machine passes calls on."""
    header = ["--header", "Authorization:${AUTHORIZATION}"] if address.token else []
    # By itself it takes plain http for localhost and 127.0.0.1 alone, not for [::1].
    header += ["--allow-http"] if address.url.startswith("http:") else []
    env = {"env": {"AUTHORIZATION": f"Bearer {BLANK}"}} if address.token else {}
    return _servers(command="npx", args=["-y", "mcp-remote", address.url, *header], **env)


def _codex(launch: Launch) -> str:
    return f"[mcp_servers.bitlm]\ncommand = {_value(launch.program)}\nargs = {_value(list(launch.arguments))}"


def _codex_reached(address: Address) -> str:
    token = f"\nbearer_token_env_var = {_value(TOKEN)}" if address.token else ""
    return f"[mcp_servers.bitlm]\nurl = {_value(address.url)}{token}"


def _goose(entry: dict[str, object]) -> str:
    lines = {"name": "bitlm", "enabled": True, "timeout": 300} | entry
    return "extensions:\n  bitlm:\n" + "\n".join(f"    {name}: {_value(value)}" for name, value in lines.items())


def _goose_started(launch: Launch) -> str:
    return _goose({"type": "stdio", "cmd": launch.program, "args": list(launch.arguments)})


def _goose_reached(address: Address) -> str:
    keys = {"env_keys": [TOKEN]} if address.token else {}
    return _goose({"type": "streamable_http", "uri": address.url, **keys, **address.headers(f"${{{TOKEN}}}")})


def _vscode_reached(address: Address) -> str:
    ask = {"type": "promptString", "id": "bitlm-token", "description": "Token of bitlm", "password": True}
    inputs = {"inputs": [ask]} if address.token else {}
    entry = {"type": "http", "url": address.url, **address.headers("${input:bitlm-token}")}
    return _json({**inputs, "servers": {"bitlm": entry}})


def _inspector(address: Address) -> str:
    return f"npx @modelcontextprotocol/inspector --transport http --server-url {shlex.quote(address.url)}{address.option}"


def _opencode(**entry: object) -> str:
    return _json({"mcp": {"bitlm": {**entry, "enabled": True}}})


_TAKE_OUT = 'Take the entry "bitlm" out of that file again.'
ENTRIES: dict[Host, Entry] = {
    "claude-code": Entry(
        "Claude Code",
        "sh",
        "a shell, in the project (with --scope user for all projects)",
        "`claude mcp list` says that bitlm is connected. " + ASK,
        "`claude mcp remove bitlm`",
        lambda launch: f"claude mcp add bitlm -- {launch.line}",
        lambda address: f"claude mcp add --transport http bitlm {shlex.quote(address.url)}{address.option}",
    ),
    "claude-desktop": Entry(
        "Claude Desktop",
        "json",
        "claude_desktop_config.json (Settings, Developer, Edit Config); restart afterwards",
        "Settings, Developer shows bitlm as running. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry),
        _desktop,
    ),
    "cline": Entry(
        "Cline",
        "json",
        "cline_mcp_settings.json (MCP Servers, Configure)",
        "The list of MCP servers shows bitlm with a green dot. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry, timeout=120),
        lambda address: _servers(type="streamableHttp", url=address.url, **address.headers(BLANK), timeout=120),
    ),
    "codex": Entry(
        "Codex",
        "toml",
        "~/.codex/config.toml",
        "`codex mcp list` names bitlm. " + ASK,
        "`codex mcp remove bitlm`, or take the table out of that file.",
        _codex,
        _codex_reached,
    ),
    "cursor": Entry(
        "Cursor",
        "json",
        "~/.cursor/mcp.json, or .cursor/mcp.json in the project",
        "The list of MCP servers shows bitlm and its tools. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry),
        lambda address: _servers(url=address.url, **address.headers(f"${{env:{TOKEN}}}")),
    ),
    "gemini": Entry(
        "Gemini CLI",
        "json",
        "~/.gemini/settings.json, or .gemini/settings.json in the project",
        "`gemini mcp list` says that bitlm is connected. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry),
        lambda address: _servers(httpUrl=address.url, **address.headers(f"${TOKEN}")),
    ),
    "goose": Entry(
        "goose",
        "yaml",
        "~/.config/goose/config.yaml",
        "`goose configure`, Toggle Extensions names bitlm. " + ASK,
        "`goose configure`, Remove Extension, or take the entry out of that file.",
        _goose_started,
        _goose_reached,
    ),
    "inspector": Entry(
        "MCP Inspector",
        "sh",
        "a shell, with Node 22.19 or newer",
        "The page that it opens connects, and lists the tools.",
        "Nothing is left once it is stopped.",
        lambda launch: f"npx @modelcontextprotocol/inspector {launch.line}",
        _inspector,
    ),
    "jetbrains": Entry(
        "JetBrains AI Assistant",
        "json",
        "Settings, Tools, AI Assistant, Model Context Protocol, Add; under STDIO, or under HTTP for an address",
        "The list there shows bitlm as connected. " + ASK,
        "Remove bitlm from that list.",
        lambda launch: _servers(**launch.entry),
        lambda address: _servers(url=address.url, **address.headers(BLANK)),
    ),
    "lm-studio": Entry(
        "LM Studio",
        "json",
        "mcp.json (Program, Install, Edit mcp.json)",
        "The Program tab shows bitlm and its tools; switch it on. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry),
        lambda address: _servers(url=address.url, **address.headers(BLANK)),
    ),
    "mcpb": Entry(
        "Desktop extension (MCPB)",
        "json",
        "manifest.json in an empty folder; `npx @anthropic-ai/mcpb pack` makes a desktop extension of it",
        "Open the .mcpb file with Claude Desktop: Settings, Extensions shows bitlm. " + ASK,
        "Settings, Extensions, bitlm, Uninstall.",
        lambda launch: _json(installed_manifest(launch.program, launch.arguments, launch.version)),
        None,
    ),
    "opencode": Entry(
        "OpenCode",
        "json",
        "opencode.json in the project, or ~/.config/opencode/opencode.json",
        "`opencode mcp list` names bitlm. " + ASK,
        _TAKE_OUT,
        lambda launch: _opencode(type="local", command=[launch.program, *launch.arguments]),
        lambda address: _opencode(type="remote", url=address.url, **address.headers(f"{{env:{TOKEN}}}")),
    ),
    "vscode": Entry(
        "VS Code",
        "json",
        ".vscode/mcp.json in the project",
        "MCP: List Servers shows bitlm as running. " + ASK,
        _TAKE_OUT,
        lambda launch: _json({"servers": {"bitlm": {"type": "stdio", **launch.entry}}}),
        _vscode_reached,
    ),
    "windsurf": Entry(
        "Windsurf",
        "json",
        "~/.codeium/windsurf/mcp_config.json",
        "The list of MCP servers shows bitlm and its tools. " + ASK,
        _TAKE_OUT,
        lambda launch: _servers(**launch.entry),
        lambda address: _servers(serverUrl=address.url, **address.headers(f"${{env:{TOKEN}}}")),
    ),
    "zed": Entry(
        "Zed",
        "json",
        "settings.json (Agent settings, Add Custom Server)",
        "The agent's settings show a green dot beside bitlm. " + ASK,
        _TAKE_OUT,
        lambda launch: _json({"context_servers": {"bitlm": launch.entry}}),
        lambda address: _json({"context_servers": {"bitlm": {"url": address.url, **address.headers(BLANK)}}}),
    ),
}
