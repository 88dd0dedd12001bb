"""metrics.json beside a checkpoint's data."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bitlm_core import CheckpointStore, read_file, write_file


def test_metrics_are_no_part_of_what_is_read(tmp_path: Path) -> None:
    """A folder with metrics in it is swept, listed and deleted like any other."""
    store = CheckpointStore(tmp_path)
    path = store.scratch("one")
    write_file(path, {"x": torch.zeros(1)}, {"step": 1})
    store.publish("one", path, step=1, summary={}, overwrite=False)
    store.tell_metrics("one", {"best": 0})
    store.sweep()
    assert store.names() == ["one"] and json.loads((tmp_path / "one" / "metrics.json").read_text()) == {"best": 0}
    assert read_file(store.verified_path("one"), "one")[1]["step"] == 1
    store.tell_metrics("one", None)
    store.tell_metrics("one", None)
    assert not (tmp_path / "one" / "metrics.json").exists()
    store.delete("one")
    assert store.names() == []
