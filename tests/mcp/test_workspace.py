"""What outlives what: servers that share a directory, end, are killed, and go on where they were."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bitlm_core import BitLMError, CheckpointError, ConfigError, ModelStateError
from bitlm_mcp.database import DatabaseError
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.leases import LeaseError
from bitlm_mcp.operations.data import Source
from bitlm_mcp.operations.models import delete, load, save
from bitlm_mcp.operations.reading import cancel, score
from bitlm_mcp.operations.training import resume
from bitlm_mcp.snapshot import JobView
from tests.mcp.workspaces import TEXT, Server, server


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def mine(state: Path) -> Iterator[Server]:
    with server(state) as made:
        made.data()
        yield made


@pytest.fixture
def other(state: Path) -> Iterator[Server]:
    with server(state) as made:
        yield made


# One server after another


def test_everything_is_there_again(state: Path) -> None:
    with server(state) as first:
        first.data()
        first.create(mixing=True)
        job = first.trained(steps=4)
        save(first.workspace, "c", "m", overwrite=False, pinned=True)
        said = first.infer()
        shown = first.workspace.snapshot
    with server(state) as second:
        again = second.workspace.snapshot
        assert again.models["m"] == shown.models["m"] and again.models["m"].step == 4 and len(again.models["m"].history) == 4
        assert again.datasets == shown.datasets and again.checkpoints["c"].pinned and again.checkpoints["c"].step == 4
        assert again.jobs[job.job_id] == job
        assert second.infer() == said


def test_a_lost_database_costs_no_model_checkpoint_or_dataset(state: Path) -> None:
    with server(state) as first:
        first.data()
        first.create()
        first.trained(steps=4)
        first.completed(save(first.workspace, "c", "m", overwrite=False, pinned=False))
        said, shown = first.infer(), first.workspace.snapshot
    (state / "bitlm.db").write_bytes(b"noise" * 1000)
    with server(state) as second:
        again = second.workspace.snapshot
        assert again.datasets == shown.datasets and again.checkpoints == shown.checkpoints
        assert again.models["m"] == shown.models["m"]
        assert second.infer() == said


def test_a_model_whose_state_is_damaged_is_named_and_harms_no_other(state: Path) -> None:
    with server(state) as first:
        first.create("good")
        first.create("bad")
        file = state / "models" / "bad" / f"{first.workspace.models.get('bad').sha256}.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with server(state) as second:
        second.infer("good")
        with pytest.raises(AssertionError, match="saved state of model 'bad'"):
            second.infer("bad")
        second.create("bad", overwrite=True)
        second.infer("bad")


@pytest.mark.parametrize("database", ["kept", "lost"])
def test_states_of_another_format_stop_neither_the_start_nor_other_work(
    state: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    with monkeypatch.context() as earlier, server(state) as first:
        earlier.setattr("bitlm_core.checkpoint.format.VERSION", 1)
        first.data()
        first.create("old")
        first.trained("old", steps=2)
        job = first.train("old", seconds=600)
        first.until_step(3, "old")
        first.completed(save(first.workspace, "old", "old", overwrite=False, pinned=False))
    as_an_earlier_version_told(state)
    if database == "lost":
        (state / "bitlm.db").unlink()
    with server(state) as second:
        shown = second.workspace.snapshot
        assert shown.models["old"].step >= 3 and shown.checkpoints["old"].step >= 3
        if database == "kept":
            with pytest.raises(ModelStateError, match=f"{job.job_id} was recorded by another version"):
                resume(second.workspace, job.job_id, queue=False)
        for use in (lambda: second.infer("old"), lambda: second.completed(load(second.workspace, "old", "n", overwrite=False))):
            with pytest.raises(AssertionError, match=r"'old' has format version 1; .* reads version 4.*train it anew"):
                use()
        second.create("new")
        second.infer("new")
        with pytest.raises(ModelStateError, match="exists already"):
            second.create("old")
        second.create("old", overwrite=True)
        second.infer("old")
        delete(second.workspace, "checkpoint", "old")
        delete(second.workspace, "model", "old")


def as_an_earlier_version_told(state: Path) -> None:
    """The manifests and rows of models as a version wrote them that had another training setting."""
    for manifest in state.glob("models/*/manifest.json"):
        told = json.loads(manifest.read_text())
        told["summary"]["config"]["training"]["dtype"] = "float32"
        manifest.write_text(json.dumps(told))
    with closing(sqlite3.connect(state / "bitlm.db")) as connection, connection:
        connection.execute("UPDATE models SET facts = json_set(facts, '$.config.training.dtype', 'float32')")
        connection.execute("UPDATE jobs SET request = json_set(request, '$.training.dtype', 'float32')")


# Two servers at once


def test_what_one_server_makes_the_other_sees_and_uses(mine: Server, other: Server) -> None:
    mine.create()
    mine.trained(steps=3)
    mine.completed(save(mine.workspace, "c", "m", overwrite=False, pinned=False))
    with pytest.raises(UnknownHandleError):
        other.workspace.model("m")
    other.tick()
    assert other.workspace.model("m") == mine.workspace.model("m")
    assert other.workspace.snapshot.checkpoints == mine.workspace.snapshot.checkpoints
    assert other.workspace.snapshot.datasets == mine.workspace.snapshot.datasets
    assert other.infer() == mine.infer()
    other.trained(steps=2)
    mine.tick()
    assert mine.workspace.model("m").step == 5 and mine.infer() == other.infer()
    assert mine.infer()[1] == 5


def test_a_model_that_one_server_trains_the_others_only_read(mine: Server, other: Server) -> None:
    mine.create()
    other.tick()
    job = mine.train(seconds=600)
    mine.until_step(2)
    mine.tick()
    other.tick()
    view = other.workspace.model("m")
    assert view.state == "training elsewhere" and view.holder is not None and view.holder.startswith("process ")
    for attempt in (
        lambda: other.train(steps=1),
        lambda: other.create(overwrite=True),
        lambda: delete(other.workspace, "model", "m"),
    ):
        with pytest.raises(LeaseError, match=r"process .*infer, score"):
            attempt()
    assert other.infer()[1] == 0  # what was saved last
    other.completed(save(other.workspace, "c", "m", overwrite=False, pinned=False))
    assert other.workspace.job(job.job_id).status == "running" and other.workspace.job(job.job_id).steps_done >= 2
    cancel(other.workspace, job.job_id)
    mine.tick()
    assert mine.ended(job.job_id).status == "cancelled"
    other.tick()
    assert other.workspace.job(job.job_id).status == "cancelled"
    assert other.workspace.model("m").step == mine.workspace.model("m").step
    other.trained(steps=1)


def test_who_takes_a_model_over_begins_with_what_the_other_has_just_saved(mine: Server, other: Server) -> None:
    mine.create()  # and nobody waits for the others to look
    assert other.trained(steps=3).saved_step == 3
    assert mine.trained(steps=2).saved_step == 5
    other.tick()
    assert other.infer() == mine.infer() and other.workspace.model("m").step == 5
    with pytest.raises(ModelStateError, match="exists already"):
        other.create("m")
    mine.create("n")
    with pytest.raises(ModelStateError, match="exists already"):
        other.create("n")


def test_the_same_call_with_the_same_key_is_one_job(mine: Server, other: Server) -> None:
    mine.create()
    other.tick()
    first = mine.trained(steps=2, key="k")
    for again in (mine, other):
        assert again.train(steps=2, key="k") == first
    assert mine.workspace.model("m").step == 2
    with pytest.raises(ConfigError, match=f"used for another call .{first.job_id}"):
        mine.train(steps=3, key="k")
    assert mine.trained(steps=2, key="another").job_id != first.job_id
    assert [path.name for path in (mine.workspace.settings.state_dir / "jobs").glob("*")] == []


def test_jobs_that_ended_long_ago_are_forgotten(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(state, job_ttl_s=60) as made:
        made.data()
        made.create()
        job = made.trained(steps=1)
        made.tick()
        assert made.workspace.records.job(job.job_id) is not None
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 120)
        made.tick()
        assert made.workspace.records.job(job.job_id) is None


def test_what_killed_servers_left_goes_when_nobody_else_is_there(state: Path) -> None:
    with server(state) as made:
        made.data()
        made.create()
        left = [
            state / "models" / "m" / ".saving-x",
            state / "checkpoints" / "c" / ".saving-x",
            state / "datasets" / ".adding-x" / "data",
            state / "jobs" / "job-unknown" / "input",
        ]
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"left, or being written")
        with server(state):
            assert all(path.exists() for path in left)
    with server(state) as made:
        assert not any(path.exists() for path in left)
        made.infer()


# Checkpoints


def test_of_each_model_the_last_and_the_pinned_checkpoints_stay(state: Path) -> None:
    with server(state, keep_last=2) as made:
        made.create("m")
        made.create("n")
        for name, model, pinned in (
            ("a", "m", False),
            ("b", "m", True),
            ("c", "n", False),
            ("d", "m", False),
            ("e", "m", False),
        ):
            made.completed(save(made.workspace, name, model, overwrite=False, pinned=pinned))
        assert list(made.workspace.snapshot.checkpoints) == ["b", "c", "d", "e"]


def test_a_loaded_checkpoint_is_a_model_of_its_own(mine: Server) -> None:
    mine.create()
    mine.trained(steps=3)
    mine.completed(save(mine.workspace, "c", "m", overwrite=False, pinned=False))
    mine.trained(steps=2)
    mine.completed(load(mine.workspace, "c", "twin", overwrite=False))
    assert mine.workspace.model("twin").step == 3 and len(mine.workspace.model("twin").history) == 3
    delete(mine.workspace, "checkpoint", "c")
    mine.trained("twin", steps=2)
    assert mine.infer("twin") == mine.infer("m")
    with pytest.raises(CheckpointError):
        load(mine.workspace, "c", "m", overwrite=True)


def test_what_is_deleted_is_gone(mine: Server, other: Server) -> None:
    mine.create()
    mine.infer()
    delete(mine.workspace, "model", "m")
    delete(mine.workspace, "dataset", "data")
    other.tick()
    for made in (mine, other):
        assert made.workspace.snapshot.models == {} and made.workspace.snapshot.datasets == {}
    mine.create()
    assert mine.infer()[1] == 0
    for kind, name in (("model", "none"), ("dataset", "none"), ("checkpoint", "none")):
        with pytest.raises(BitLMError):
            delete(mine.workspace, kind, name)  # type: ignore[arg-type]


# A disk that refuses


class Refusing:
    """A database whose transactions cannot be committed while `refusing`."""

    def __init__(self, made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusing = False
        write = made.workspace.database.write

        @contextmanager
        def refused() -> Iterator[sqlite3.Connection]:
            with write() as transaction:
                yield transaction
                if self.refusing:
                    raise DatabaseError("disk is full", path=Path("bitlm.db"))

        monkeypatch.setattr(made.workspace.database, "write", refused)


def test_what_the_database_refuses_has_not_happened(mine: Server, other: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.create()
    mine.trained(steps=2)
    mine.completed(save(mine.workspace, "c", "m", overwrite=False, pinned=False))
    other.tick()
    said = other.infer()
    before = other.workspace.snapshot.summary()
    database = Refusing(mine, monkeypatch)
    database.refusing = True
    changes: list[Callable[[], object]] = [
        mine.data,
        lambda: mine.create(overwrite=True),
        lambda: mine.create("new"),
        lambda: load(mine.workspace, "c", "m", overwrite=True),
        lambda: mine.train(steps=2),
        lambda: delete(mine.workspace, "model", "m"),
        lambda: delete(mine.workspace, "dataset", "data"),
        lambda: delete(mine.workspace, "checkpoint", "c"),
    ]
    for change in changes:
        with pytest.raises(DatabaseError):
            change()
    saving = save(mine.workspace, "c", "m", overwrite=True, pinned=False)
    assert mine.over(saving).status == "failed"
    other.workspace.index_folders()
    found = other.workspace.snapshot.summary()
    assert {**found, "version": 0} == {**before, "version": 0} and other.infer() == said
    database.refusing = False
    mine.trained(steps=1)
    assert mine.infer()[1] == 3


def test_an_end_that_cannot_be_recorded_is_not_told_as_done(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.create()
    database = Refusing(mine, monkeypatch)
    view = mine.train(seconds=60)
    mine.until_step(2)
    database.refusing = True
    cancel(mine.workspace, view.job_id)
    assert mine.ended(view.job_id).status == "failed"
    job = score_under(mine, database)
    assert job.status == "failed" and job.result is None and "could not be recorded" in (job.error or "")
    database.refusing = False


def score_under(mine: Server, database: Refusing) -> JobView:
    """Score; the database refuses from the moment at which the job is recorded."""
    database.refusing = False
    job = score(mine.workspace, "m", Source(content=TEXT))
    database.refusing = True
    return mine.ended(job.job_id)


def test_a_fault_in_what_comes_of_a_job_ends_that_job_alone(mine: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise OSError("a fault of ours")

    mine.create()
    with monkeypatch.context() as broken:
        broken.setattr(mine.workspace.models, "advance", fault)
        view = mine.ended(mine.train(seconds=600).job_id)
    assert view.status == "failed" and "fault in the server" in str(view.error)
    assert mine.trained(steps=2).status == "completed"
