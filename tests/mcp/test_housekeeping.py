"""The chores of a server: one that fails stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mcp.workspaces import server


def test_a_chore_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with server(tmp_path / "state") as made:
        done: list[str] = []

        def fault() -> None:
            raise KeyError("a fault of ours")

        made.housekeeper._chores = [(0.0, fault), (0.0, lambda: done.append("next"))]
        made.housekeeper._due = [0.0, 0.0]
        made.housekeeper.tick()
        made.housekeeper.tick()
        assert done == ["next", "next"] and "a chore failed" in caplog.text
