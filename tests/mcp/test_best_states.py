"""The best state of a training with patience: which step it is, under what name it stays, and what it never replaces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from bitlm_core import CheckpointError
from bitlm_mcp.operations.best_states import best_name
from bitlm_mcp.operations.models import load, save
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.training import resume
from tests.mcp.workspaces import Server


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, keep_last=1)
    server.data()
    server.create()
    yield server
    server.workspace.close()


def looks(monkeypatch: pytest.MonkeyPatch, *bits: float) -> None:
    """What held-out data costs at one look after the other, and then 9 bits per byte for ever."""
    losses = chain((each * math.log(2) for each in bits), repeat(9 * math.log(2)))
    monkeypatch.setattr("bitlm_core.learning.held_out_loss", lambda *_: next(losses))


def trained(mine: Server, **fields: Any) -> dict[str, Any] | None:
    return mine.trained(**{"steps": 100, "validate_every": 1, "patience": 3, **fields}).result


def test_the_best_state_is_kept_and_named(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 7, 6, 6.5, 5)
    told = {"best_checkpoint": "m.best", "best_step": 4, "best_bits_per_byte_held_out": pytest.approx(5)}
    assert trained(mine) == told
    models = mine.workspace.snapshot.models
    assert models["m"].step == 7  # it went on until patience ended
    assert mine.workspace.snapshot.checkpoints["m.best"].step == 4
    mine.completed(load(mine.workspace, "m.best", "again", overwrite=False))
    assert mine.workspace.snapshot.models["again"].step == 4
    assert not list(mine.workspace.checkpoints.root.glob("*/.*"))


def test_the_next_training_replaces_it_and_others_keep_none(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 5)
    assert (trained(mine) or {})["best_step"] == 1
    looks(monkeypatch, 8)  # worse than that of the training before, and still the best of this one
    assert (trained(mine) or {})["best_step"] == 5
    assert mine.workspace.checkpoints.names() == ["m.best"]
    assert trained(mine, steps=2, patience=None) is None and trained(mine, steps=2, validate_every=None, patience=None) is None
    assert mine.workspace.checkpoints.info("m.best").step == 5


def test_what_somebody_saved_or_pinned_stays(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.completed(save(mine.workspace, "m.best", "m", overwrite=False, pinned=False))
    looks(monkeypatch, 5)
    assert (trained(mine) or {})["best_checkpoint"] == "m.best-2"
    mine.workspace.checkpoints.pin("m.best-2", True)
    looks(monkeypatch, 5)
    assert (trained(mine) or {})["best_checkpoint"] == "m.best-3"
    mine.completed(save(mine.workspace, "latest", "m", overwrite=False, pinned=False))  # one of one that is kept
    assert mine.workspace.checkpoints.names() == ["latest", "m.best-2", "m.best-3"]


def test_a_training_that_goes_on_knows_what_it_had_kept(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 5)
    job = mine.train(steps=1000, validate_every=1, patience=40)
    mine.until_step(3)
    cancel(mine.workspace, job.job_id)
    assert mine.ended(job.job_id).status == "cancelled"
    resume(mine.workspace, job.job_id, queue=False)
    done = mine.ended(job.job_id)
    assert (done.status, done.step, done.result) == (
        "completed",
        41,
        {"best_checkpoint": "m.best", "best_step": 1, "best_bits_per_byte_held_out": pytest.approx(5)},
    )


def test_its_name_is_a_name_however_long_the_model_is_called(mine: Server) -> None:
    one, two = ("x" * 63 + end for end in "ab")
    names = {best_name(mine.workspace, model_id, "job-1") for model_id in (one, two, "x" * 56)}
    assert len(names) == 3
    for name in names:
        mine.workspace.checkpoints.check_free(name, overwrite=False)


def test_a_disk_that_refuses_it_is_told_and_the_training_goes_on(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise CheckpointError("checkpoint 'm.best' could not be written: the disk is full", name="m.best")

    looks(monkeypatch, 7, 6)
    monkeypatch.setattr(mine.workspace.checkpoints, "publish", refuse)
    assert trained(mine) is None
    model = mine.workspace.snapshot.models["m"]
    assert model.step == 5 and sum("the disk is full" in alert for alert in model.alerts) == 2
