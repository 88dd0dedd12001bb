"""What several files of tests start with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mcp.workspaces import Server, server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the dataset `data`, and a model `m` with context mixing that has learned a little of it."""
    with server(tmp_path_factory.mktemp("state")) as one:
        one.data()
        one.create("m", mixing=True)
        one.trained("m", steps=2)
        yield one
