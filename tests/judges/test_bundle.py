"""Desktop extensions: the validator of MCP bundles accepts both manifests, and a packed bundle starts as a host starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dummy_process import ENV
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.packaging.conftest import Distributions, distributions

__all__ = ["distributions"]
HERE = Path(__file__).parent


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def mcpb(programs: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mcpb", *map(str, arguments)], env=programs, capture_output=True, text=True, check=False)


def test_the_manifest_is_valid(programs: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "config", "mcpb", "--state-dir", str(tmp_path)]
    printed = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True).stdout
    manifest = tmp_path / "manifest.json"
    manifest.write_text(printed)
    assert mcpb(programs, "validate", manifest).returncode == 0, mcpb(programs, "validate", manifest).stdout
    manifest.write_text(printed.replace('"binary"', '"unheard-of"'))
    assert mcpb(programs, "validate", manifest).returncode != 0


@pytest.mark.anyio
async def test_a_packed_bundle_starts_as_a_host_starts_it(
    programs: dict[str, str], distributions: Distributions, tmp_path: Path
) -> None:
    made, packed, unpacked = tmp_path / "made", tmp_path / "bitlm.mcpb", tmp_path / "unpacked"
    command = [sys.executable, "-m", "bitlm_mcp", "bundle", str(made), "--wheel", str(distributions.wheel)]
    subprocess.run(command, env=ENV, capture_output=True, check=True)
    for step in (("validate", made / "manifest.json"), ("pack", made, packed), ("unpack", packed, unpacked)):
        found = mcpb(programs, *step)
        assert found.returncode == 0, found.stdout + found.stderr
    data = tmp_path / "data"
    data.mkdir()
    (data / "mine.txt").write_text("abc " * 100)
    chosen = {"state_directory": str(tmp_path / "state"), "allowed_directories": [str(data), str(tmp_path)]}
    server = started_by_a_host(programs, unpacked, chosen)
    async with Client(stdio_client(server)) as client:
        offered = {tool.name for tool in (await client.list_tools()).tools}
        stored = await client.call_tool("add_dataset", {"dataset_id": "mine", "path": str(data / "mine.txt")})
        assert not stored.is_error, stored
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert offered == {tool["name"] for tool in manifest["tools"]}
    assert (tmp_path / "state" / "datasets" / "mine").is_dir()


def started_by_a_host(programs: dict[str, str], unpacked: Path, chosen: dict[str, object]) -> StdioServerParameters:
    """What the bundle's own tools make of its mcp_config, with all installed beforehand, as hosts do."""
    found = subprocess.run(
        ["node", HERE / "bundle_config.mjs", unpacked, json.dumps(chosen)],
        env=programs, capture_output=True, text=True, check=True,
    )  # fmt: skip
    config = json.loads(found.stdout)
    # The index of torch for the CPU may be out of reach, or the same file may lie on this machine.
    local = {"UV_NO_SOURCES_PACKAGE": "torch"}
    if "PIP_FIND_LINKS" in os.environ:
        local["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]
    env = {name: value for name, value in programs.items() if name != "PYTHONPATH"} | local | config["env"]
    subprocess.run(["uv", "sync", "--quiet", "--directory", unpacked], env=env, check=True, timeout=600)
    return StdioServerParameters(command=config["command"], args=config["args"], env=env)
