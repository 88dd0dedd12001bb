"""A state directory with one checkpoint, and a hub on loopback beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import TOKEN, FakeHub, fake_hub
from huggingface_hub.utils import _http

from bitlm_core import (
    CheckpointStore,
    EngineConfig,
    Fetched,
    Hub,
    Pushed,
    fetch_checkpoint,
    push_checkpoint,
    write_file,
)

REPO = "me/bits"


@pytest.fixture
def remote() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


class Stop(BaseException):
    """What ends a transfer from inside."""


def stop_halfway(share: float) -> None:
    if share >= 0.5:
        raise Stop


class Place:
    """A state directory with one checkpoint, and a hub that is not waited for."""

    def __init__(self, root: Path, remote: FakeHub) -> None:
        self.root, self.waits = root, list[float]()
        self.hub = Hub(endpoint=remote.endpoint, token=TOKEN, wait=self.waits.append)
        self.store = CheckpointStore(root / "checkpoints")
        self.scratch = root / "hub"

    def save(self, name: str = "one", step: int = 3, **told: Any) -> None:
        header = {"config": EngineConfig(seed=step).model_dump(mode="json"), "step": step} | told
        tensors = {"x": torch.arange(200_000, dtype=torch.float32) + step}
        self.store.save(name, lambda path: write_file(path, tensors, header), step=step, summary={}, overwrite=True)

    def push(self, name: str = "one", **how: Any) -> Pushed:
        return push_checkpoint(self.hub, self.store, name, REPO, scratch=self.scratch, **how)

    def fetch(self, hub: Hub | None = None, **how: Any) -> Fetched:
        return fetch_checkpoint(hub or self.hub, REPO, scratch=self.scratch, **how)

    def left(self) -> list[str]:
        """What transfers have left in their folder."""
        return sorted(path.name for path in self.scratch.iterdir()) if self.scratch.exists() else []


@pytest.fixture
def place(tmp_path: Path, remote: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, remote)
    monkeypatch.setattr(_http.time, "sleep", place.waits.append)  # between the library's own tries
    place.save()
    return place
