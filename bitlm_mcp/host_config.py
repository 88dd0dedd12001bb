"""The exact snippet with which each host starts or reaches this server."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Literal

Host = Literal["claude-desktop", "claude-code", "cursor", "vscode", "codex", "gemini", "inspector", "mcpb"]


@dataclass(frozen=True)
class Launch:
    """How a host is to start the server: an absolute program and its arguments; and the program's version."""

    program: str
    arguments: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Snippet:
    """Where a text belongs, and the text."""

    where: str
    text: str


def snippet_for(host: Host, launch: Launch) -> Snippet:
    """What to put where, for one host."""
    server = {"command": launch.program, "args": list(launch.arguments)}
    line = shlex.join((launch.program, *launch.arguments))
    if host == "claude-desktop":
        where = "claude_desktop_config.json (Settings, Developer, Edit Config)"
        return Snippet(where, _json({"mcpServers": {"bitlm": server}}))
    if host == "claude-code":
        return Snippet("a shell, in the project", f"claude mcp add bitlm -- {line}")
    if host == "cursor":
        return Snippet("~/.cursor/mcp.json, or .cursor/mcp.json in the project", _json({"mcpServers": {"bitlm": server}}))
    if host == "vscode":
        return Snippet(".vscode/mcp.json in the project", _json({"servers": {"bitlm": {"type": "stdio", **server}}}))
    if host == "codex":
        # TOML's basic strings and JSON's are written alike.
        text = f"[mcp_servers.bitlm]\ncommand = {json.dumps(launch.program)}\nargs = {json.dumps(list(launch.arguments))}"
        return Snippet("~/.codex/config.toml", text)
    if host == "gemini":
        return Snippet(
            "~/.gemini/settings.json, or .gemini/settings.json in the project", _json({"mcpServers": {"bitlm": server}})
        )
    if host == "mcpb":
        where = "manifest.json in an empty folder; `npx @anthropic-ai/mcpb pack` makes a desktop extension of it"
        return Snippet(where, _json(_manifest(launch)))
    return Snippet("a shell, with Node 22.19 or newer", f"npx @modelcontextprotocol/inspector {line}")


def _manifest(launch: Launch) -> dict[str, object]:
    """A desktop extension (MCP bundle, manifest 0.3) that starts the program where it is installed."""
    return {
        "manifest_version": "0.3",
        "name": "bitlm",
        "display_name": "bitlm",
        "version": launch.version,
        "description": "Learns any data at the level of bits: create, train, ask and measure small models.",
        "author": {"name": "the bitlm authors"},
        "license": "Apache-2.0",
        "server": {
            "type": "binary",
            "entry_point": launch.program,
            "mcp_config": {"command": launch.program, "args": list(launch.arguments)},
        },
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"platforms": ["darwin", "linux"]},
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
