"""Manifests of desktop extensions (MCP bundles): how a host that installs such a file starts this server.

Two kinds. `installed_manifest` points at a program that is there already (manifest 0.3, type `binary`); `bundled_manifest`
belongs into a bundle that brings the program with it, whose dependencies the host installs with uv (manifest 0.4, type `uv`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LAUNCHER = "server.py"
"""The file of a bundle that starts the server; its arguments are the folders whose files may be read."""


def installed_manifest(program: str, arguments: Sequence[str], version: str) -> dict[str, object]:
    """For the program where it is installed, with exactly these arguments."""
    config = {"command": program, "args": list(arguments)}
    return {
        "manifest_version": "0.3",
        **_about(version),
        "server": {"type": "binary", "entry_point": program, "mcp_config": config},
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"platforms": ["darwin", "linux"]},
    }


def bundled_manifest(version: str, python: str, tools: Mapping[str, str]) -> dict[str, object]:
    """For a bundle with `LAUNCHER` in it; `python`: which versions it runs on; `tools`: a title for each name.

    The user chooses where everything is kept, and the folders whose files the tools may read.
    """
    config = {
        "command": "uv",
        "args": ["run", "--directory", "${__dirname}", LAUNCHER, "${user_config.allowed_directories}"],
        "env": {"BITLM_STATE_DIR": "${user_config.state_directory}"},
    }
    return {
        "manifest_version": "0.4",
        **_about(version),
        "server": {"type": "uv", "entry_point": LAUNCHER, "mcp_config": config},
        "tools": [{"name": name, "description": title} for name, title in tools.items()],
        "tools_generated": False,
        "prompts_generated": True,
        "compatibility": {"platforms": ["darwin", "linux"], "runtimes": {"python": python}},
        "user_config": {
            "state_directory": {
                "type": "directory",
                "title": "State directory",
                "description": "Where models, datasets and checkpoints are kept.",
                "required": True,
                "default": "${HOME}/.local/state/bitlm",
            },
            "allowed_directories": {
                "type": "directory",
                "title": "Data folders",
                "description": "Folders whose files the tools may read, to learn from them or to measure them.",
                "multiple": True,
                "required": True,
                "default": ["${DOCUMENTS}"],
            },
        },
    }


def _about(version: str) -> dict[str, object]:
    return {
        "name": "bitlm",
        "display_name": "bitlm",
        "version": version,
        "description": "Learns any data at the level of bits: create, train, ask and measure small models.",
        "author": {"name": "the bitlm authors"},
        "license": "Apache-2.0",
    }
