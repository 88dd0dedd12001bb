"""Trainings that were stopped, killed or never began, and go on; and those that end by what they see of held-out data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bitlm_core import ConfigError, ModelStateError
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.training import resume
from bitlm_mcp.presence import bury
from bitlm_mcp.snapshot import HistoryPoint
from tests.mcp.workspaces import TEXT, Server, server


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def mine(state: Path) -> Iterator[Server]:
    with server(state) as made:
        made.data()
        yield made


def test_a_training_that_a_stop_interrupts_goes_on_as_if_nothing_had_been(state: Path, tmp_path: Path) -> None:
    with server(tmp_path / "uninterrupted") as straight:
        straight.data()
        straight.create(mixing=True)
        straight.trained(steps=30)
        expected, history = straight.infer(), straight.workspace.model("m").history
    with server(state) as first:
        first.data()
        first.create(mixing=True)
        job = first.train(steps=30)
        first.until_step(5)
    with server(state) as second:
        view = second.workspace.job(job.job_id)
        assert view.status == "interrupted" and "resume_job" in str(view.error)
        assert view.saved_step == view.step == second.workspace.model("m").step >= 5
        resumed = resume(second.workspace, job.job_id, queue=False)
        assert resumed.job_id == job.job_id and resumed.created == view.created
        done = second.ended(job.job_id)
        assert (done.status, done.steps_done, done.step) == ("completed", 30, 30)
        assert second.infer() == expected
        assert [point.loss for point in second.workspace.model("m").history] == [point.loss for point in history]
        with pytest.raises(ModelStateError, match="is completed, not interrupted"):
            resume(second.workspace, job.job_id, queue=False)


def test_a_server_that_was_taken_for_dead_leaves_the_job_to_its_successor(state: Path) -> None:
    with server(state) as hung, server(state) as second:
        hung.create()
        job = hung.train(seconds=600, source=Source(content=TEXT))
        hung.until_step(1)
        with second.workspace.database.write() as transaction:
            bury(transaction, hung.workspace.presence.server_id, "taken for dead")
        hung.tick()
        cancel(hung.workspace, job.job_id)  # it wakes up, and can save nothing
        assert hung.ended(job.job_id).status == "failed"
        view = second.workspace.records.job(job.job_id)
        assert view is not None and (view.view.status, view.view.error) == ("interrupted", "taken for dead")
        resume(second.workspace, job.job_id, queue=False)
        second.until_step(1)
        cancel(second.workspace, job.job_id)
        assert second.ended(job.job_id).status == "cancelled"


def test_a_training_on_the_data_of_its_call_can_go_on(state: Path) -> None:
    with server(state) as first:
        first.create()
        job = first.train(seconds=600, source=Source(content=TEXT))
        first.until_step(3)
        cancel(first.workspace, job.job_id)
        assert first.ended(job.job_id).status == "cancelled"
        run = first.workspace.job_files.run_folder(job.job_id)
    run.mkdir()  # as processes leave it whose server was killed
    with server(state) as second:
        assert not run.exists()
        resume(second.workspace, job.job_id, queue=False)
        second.until_step(6)
        cancel(second.workspace, job.job_id)
        assert second.ended(job.job_id).status == "cancelled"


def test_a_job_that_never_began_begins_when_it_is_resumed(state: Path) -> None:
    with server(state) as first:
        first.data()
        first.create()
        running = first.train(seconds=600)
        queued = first.train(steps=3, queue=True)
        first.until_step(2)
    with server(state) as second:
        assert {second.workspace.job(job.job_id).status for job in (running, queued)} == {"interrupted"}
        before = second.workspace.model("m").step
        resume(second.workspace, queued.job_id, queue=False)
        assert second.ended(queued.job_id).steps_done == 3 and second.workspace.model("m").step == before + 3
        with pytest.raises(ModelStateError, match=f"changed since {running.job_id} saved its step {before}"):
            resume(second.workspace, running.job_id, queue=False)


def test_what_a_training_needs_must_be_as_it_was(state: Path) -> None:
    with server(state) as first:
        first.data()
        first.create()
        job = first.train(seconds=600)
        first.until_step(2)
    with server(state) as second:
        second.workspace.datasets.add("data", [[b"other" * 50]], source="text", holdout_fraction=0.1, overwrite=True)
        with pytest.raises(ModelStateError, match="was replaced since"):
            resume(second.workspace, job.job_id, queue=False)
        with pytest.raises(UnknownHandleError):
            resume(second.workspace, "job-none", queue=False)


def learned(made: Server) -> list[HistoryPoint]:
    """The history of the model, without what differs from run to run: speed and memory."""
    points = made.workspace.model("m").history
    return [replace(point, bytes_per_second=None, memory_bytes=None) for point in points]


def test_a_training_that_looks_at_held_out_data_goes_on_exactly(state: Path, tmp_path: Path) -> None:
    with server(tmp_path / "uninterrupted") as straight:
        straight.data()
        straight.create(use_act=True)
        straight.trained(steps=12, validate_every=3, carry=True)
        expected = learned(straight)
        assert [point.step for point in expected if point.bits_per_byte_held_out] == [3, 6, 9, 12]
    with server(state) as first:
        first.data()
        first.create(use_act=True)
        job = first.train(steps=12, validate_every=3, carry=True)
        first.until_step(4)
    with server(state) as second:
        if second.workspace.job(job.job_id).status == "interrupted":  # else it was quicker than the stop
            resume(second.workspace, job.job_id, queue=False)
        done = second.ended(job.job_id)
        assert done.bits_per_byte_held_out == expected[-1].bits_per_byte_held_out and not done.stopped_early
        assert learned(second) == expected
    with server(state) as third:
        assert learned(third) == expected and third.workspace.job(job.job_id) == done
        (state / "bitlm.db").write_bytes(b"noise" * 1000)
    with server(state) as fourth:
        assert learned(fourth) == expected


def test_held_out_data_must_be_there_and_stay_as_it_was(state: Path) -> None:
    parts = {"source": "text", "holdout_fraction": 0.1, "overwrite": True}
    with server(state) as made:
        made.data()
        made.create()
        before = made.workspace.snapshot.jobs
        with pytest.raises(ConfigError, match="look at the held-out part of a dataset"):
            made.train(steps=1, validate_every=1, source=Source(content=TEXT))
        for fraction, fault in ((0.0, "has no held-out part"), (0.01, "has 1 byte, and a look needs 2")):
            add_dataset(made.workspace, "short", [[b"x" * 100]], **parts | {"holdout_fraction": fraction})
            with pytest.raises(ConfigError, match=fault):
                made.train(steps=1, validate_every=1, source=Source(dataset_id="short"))
        assert made.workspace.snapshot.jobs == before and not list((state / "jobs").glob("*"))
        job = made.train(seconds=600, validate_every=1)
        made.until_step(2)
        cancel(made.workspace, job.job_id)
        made.ended(job.job_id)
        add_dataset(made.workspace, "data", [[TEXT[:-1], b"!"]], **parts)  # the last byte, which was held back
        with pytest.raises(ModelStateError, match="was replaced since"):
            resume(made.workspace, job.job_id, queue=False)
        made.data()
        resume(made.workspace, job.job_id, queue=False)


def test_a_training_ends_when_it_gets_no_better(mine: Server) -> None:
    mine.create()
    view = mine.trained(steps=500, validate_every=2, patience=3, best_loss=0.0)
    assert view.stopped_early and (view.step, view.steps_done, view.progress) == (6, 6, 1.0)
    assert mine.workspace.records.job(view.job_id).view == view  # type: ignore[union-attr]
