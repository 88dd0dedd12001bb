"""What one server tells of its trainings, and others see of them: also where steps are undone, and where nothing is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp.compute import commands
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.jobs import Job
from bitlm_mcp.leases import Lease, LeaseError
from bitlm_mcp.operations.models import delete
from bitlm_mcp.operations.reading import cancel, saved_state_note
from bitlm_mcp.snapshot import HistoryPoint, Mark
from bitlm_mcp.tools.waiting import wait_for
from tests.mcp.workspaces import Server, server


def point(step: int, loss: float = 2.0) -> HistoryPoint:
    return HistoryPoint(step, loss, 3.0, None, 1.0, 0.001, None, None, None)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with server(tmp_path / "state") as one, server(tmp_path / "state") as two:
        one.create("m")
        yield one, two


def learned(one: Server, *points: HistoryPoint, alerts: tuple[str, ...] = (), marks: tuple[Mark, ...] = ()) -> None:
    for each in points:
        one.workspace.models.advance("m", each, alerts, marks)
    one.workspace.models.tell()


def seen(two: Server) -> list[tuple[int, float]]:
    two.workspace.catch_up()
    return [(each.step, each.loss) for each in two.workspace.model("m").history]


def begun(one: Server) -> Lease:
    lease = one.workspace.leases.acquire("m", "train_step")
    one.workspace.leases.tell(lease, "train_step", "job-1")
    return lease


def test_a_curve_is_followed_back_and_forth_and_forgotten_where_nothing_was_saved(pair: tuple[Server, Server]) -> None:
    one, two = pair
    lease, drift = begun(one), Mark(2, "drift", "k drifted")
    learned(one, point(1), point(2), alerts=("k drifted",), marks=(drift,))
    learned(one, point(3), point(4))
    assert seen(two) == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 2.0)]
    view = two.workspace.model("m")
    assert (view.state, view.step, view.job_id, view.marks) == ("training elsewhere", 4, "job-1", (drift, drift))
    assert set(view.alerts) == {"k drifted"}
    assert "at step 4 now: this is of its last saved state, step 0" in (saved_state_note(two.workspace, "m") or "")
    assert saved_state_note(one.workspace, "m") is None
    # What was undone is gone here too, also where as many steps came again.
    learned(one, point(3, 1.5))
    assert seen(two) == [(1, 2.0), (2, 2.0), (3, 1.5)]
    learned(one, point(2, 1.0), point(3, 1.0), point(4, 1.0))
    assert seen(two) == [(1, 2.0), (2, 1.0), (3, 1.0), (4, 1.0)]
    # Another state that is saved meanwhile makes another model, and the curve goes on.
    before = two.workspace.models.get("m")
    with one.workspace.database.write() as transaction:
        transaction.execute("UPDATE models SET sha256 = 'another'")
    learned(one, point(5))
    assert seen(two) == [(1, 2.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0)]
    after = two.workspace.models.get("m")
    assert after.incarnation > before.incarnation and after.history is before.history and after.step == 5
    # Who comes later sees the same.
    with server(two.workspace.settings.state_dir) as three:
        assert seen(three) == seen(two)
    one.workspace.leases.release(lease)
    assert seen(two) == [] and two.workspace.model("m").step == 0 and two.workspace.model("m").state == "idle"


def test_what_cannot_be_told_is_told_later(pair: tuple[Server, Server]) -> None:
    one, two = pair
    lease = begun(one)
    learned(one, point(1))
    with one.workspace.database.write() as transaction:
        transaction.execute("UPDATE leases SET epoch = epoch + 1")
    with pytest.raises(LeaseError, match="taken over"):
        learned(one, point(2))
    with one.workspace.database.write() as transaction:
        transaction.execute("UPDATE leases SET epoch = epoch - 1")
    learned(one, point(3))
    assert seen(two) == [(1, 2.0), (2, 2.0), (3, 2.0)]
    one.workspace.leases.release(lease)


def test_of_trainings_in_a_queue_the_one_that_runs_is_told(pair: tuple[Server, Server]) -> None:
    one, two = pair
    one.data()
    jobs = [one.train(seconds=600, queue=True).job_id for _ in range(3)]

    def stopped(job_id: str) -> str | None:
        """Which job is told when that one has ended."""
        cancel(one.workspace, job_id)
        one.ended(job_id)
        two.workspace.catch_up()
        return two.workspace.model("m").job_id

    assert [stopped(job_id) for job_id in (jobs[1], jobs[0], jobs[2])] == [jobs[0], jobs[2], None]


def test_a_read_whose_state_has_gone_when_its_turn_comes_reads_the_latest(pair: tuple[Server, Server]) -> None:
    one, two = pair
    one.data()
    two.workspace.catch_up()
    models = two.workspace.models
    first = commands.Write(model=models.ref("m"), save_to=models.folder("m"))

    def when_its_turn_comes() -> Job:
        note = "this is of its last saved state, step 0"
        return two.over(two.workspace.runner.submit(Job("save_checkpoint", "m", Urgency.ANSWER, first, note=note)))

    for _ in range(2):  # the state before the last one stays
        one.trained("m", steps=1)
    done = when_its_turn_comes()
    assert done.status == "completed" and "saved state, step 2" in str(done.note)
    answer: Any = done.answer
    assert answer.saved.facts.step == 2
    delete(one.workspace, "model", "m")
    assert "no model 'm'" in str(when_its_turn_comes().error)


def test_nothing_is_told_where_nobody_is(tmp_path: Path) -> None:
    with server(tmp_path / "state") as alone:
        alone.create("m")
        lease = begun(alone)
        alone.workspace.models.advance("m", point(1), ())
        alone.tick()
        assert alone.workspace.records.curves.points("m") == ()
        with server(tmp_path / "state") as other:
            alone.tick()
            alone.tick()
            assert seen(other) == [(1, 2.0)]
        alone.workspace.leases.release(lease)


def test_a_server_that_was_called_first_finds_what_another_has_done(pair: tuple[Server, Server]) -> None:
    one, two = pair
    one.create("n")
    with pytest.raises(UnknownHandleError):
        two.workspace.model("n")
    two.workspace.catch_up()
    assert two.workspace.model("n").step == 0


@pytest.mark.anyio
@pytest.mark.parametrize("leaving", [False, True])
async def test_who_no_longer_waits_stops_a_job_and_a_server_that_goes_does_not(
    pair: tuple[Server, Server], leaving: bool
) -> None:
    one, two = pair
    job = Job("train_step", "m", Urgency.TRAIN, commands.Drop(model_id="m"), recorded=True)
    one.workspace.records.add_job(job.view(), {}, one.workspace.presence.server_id)
    told = asyncio.Event()

    class Caller:
        async def report_progress(self, *_: Any) -> None:
            told.set()

    caller: Any = Caller()
    waiting = asyncio.create_task(wait_for(two.workspace, job.job_id, 60, caller, owner=True, elsewhere=False))
    await told.wait()
    if leaving:
        two.workspace.leave()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert one.workspace.records.to_cancel(one.workspace.presence.server_id) == ([] if leaving else [job.job_id])
