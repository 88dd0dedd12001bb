"""What several files of tests start with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bitlm_core import Engine, write_file
from tests.mcp.workspaces import TEXT, Server, config, server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the dataset `data`, and a model `m` with context mixing that has learned a little of it."""
    with server(tmp_path_factory.mktemp("state")) as one:
        one.data()
        one.create("m", mixing=True)
        one.trained("m", steps=2)
        yield one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to learn."""
    (tmp_path / "text").write_bytes(TEXT)
    return tmp_path / "text"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a model that has learned nothing yet."""
    path = tmp_path / "model"
    write_file(path, *Engine(config()).state())
    return path
