"""`bitlm doctor`: what is well is called well, what is damaged is named, and nothing is touched."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dummy_process import ENV

from bitlm_mcp import doctor
from bitlm_mcp.doctor import Finding, examine, examine_state
from bitlm_mcp.operations.models import save
from tests.mcp.command_line import invoked
from tests.mcp.workspaces import server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_healthy_directory_is_well_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with server(state) as made:
        made.data()
        made.create()
        made.completed(save(made.workspace, "c", "m", overwrite=False, pinned=False))

    def content() -> dict[Path, bytes]:  # all but what SQLite makes to read beside others
        return {path: path.read_bytes() for path in state.rglob("*") if path.is_file() and "bitlm.db-" not in path.name}

    before = content()
    found = {finding.what: finding async for finding in examine(state, dict(os.environ) | ENV)}
    assert [finding for finding in found.values() if not finding.good] == []
    assert {"server over stdio", "tools/list", "engine", "database", "models", "checkpoints", "datasets"} <= found.keys()
    assert found["models"].found == "1, all whole"
    assert content() == before


async def no_server(state_dir: Path, environment: dict[str, str]) -> AsyncIterator[Finding]:
    """In the place of the one that is started to look at it: above it was found to be well."""
    for finding in ():
        yield finding


def test_damage_is_named_and_the_exit_code_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_server", no_server)
    state = tmp_path / "state"
    with server(state) as made:
        made.data()
        for name in ("good", "bad"):
            made.create(name)
    for file in (*(state / "models" / "bad").glob("*.safetensors"), *(state / "datasets" / "data").glob("*.data")):
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    (state / "bitlm.db").write_bytes(b"noise" * 1000)
    ended = invoked("doctor", "--state-dir", state)
    assert ended.exit_code == 1 and "not well: database, models, datasets" in ended.stderr
    bad = [line for line in ended.stdout.splitlines() if line.startswith("BAD")]
    assert len(bad) == 3 and "2, damaged: bad" in bad[1] and "1, damaged: data" in bad[2] and "file is not a database" in bad[0]


def test_an_empty_place_is_well(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in examine_state(tmp_path / "not" / "yet")}
    assert all(finding.good for finding in found.values()) and "not made yet" in found["state directory"].found
    assert not (tmp_path / "not").exists()
