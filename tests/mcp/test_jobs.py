"""The compute worker: who goes first, who may stop whom, and what a failure costs."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import anyio
import pytest

from bitlm_core import ModelStateError, ResourceLimitError
from bitlm_mcp.jobs import MAX_WAITING, Job, Progress, Urgency, Worker


class Bench:
    """A worker whose jobs write down their steps; `gate` holds the first job until all are queued."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.changed: list[str] = []
        self.gate, self.begun = threading.Event(), threading.Event()
        self.worker = Worker(lambda job: self.changed.append(job.status), lambda: None)

    def job(self, name: str, steps: int, urgency: Urgency = Urgency.TRAIN, fail: Exception | None = None) -> Job:
        def work() -> Generator[Progress, None, str]:
            for step in range(steps):
                if name == "first":
                    self.begun.set()
                    assert self.gate.wait(10)
                self.log.append(f"{name}{step}")
                yield Progress((step + 1) / steps, steps_done=step + 1)
            if fail:
                raise fail
            return f"{name} done"

        job = self.worker.submit(Job(kind="test", model_id="m", urgency=urgency, work=work))
        assert name != "first" or self.begun.wait(10)
        return job


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.worker.stop(10)


def finish(*jobs: Job) -> None:
    async def wait() -> None:
        for job in jobs:
            assert await job.wait(20)

    anyio.run(wait)


def test_answers_go_between_the_steps_of_a_training(bench: Bench) -> None:
    train = bench.job("first", 3)
    read = bench.job("r", 2, Urgency.READ)
    ask = bench.job("a", 2, Urgency.ANSWER)
    bench.gate.set()
    finish(train, read, ask)
    # One step of the training was under way already; then the urgent ones, then the rest of it.
    assert bench.log == ["first0", "a0", "a1", "r0", "r1", "first1", "first2"]
    assert (train.result, train.status, train.progress.share) == ("first done", "completed", 1.0)


def test_answers_take_turns(bench: Bench) -> None:
    jobs = [bench.job("first", 1), bench.job("a", 2, Urgency.ANSWER), bench.job("b", 2, Urgency.ANSWER)]
    bench.gate.set()
    finish(*jobs)
    assert bench.log == ["first0", "a0", "b0", "a1", "b1"]


def test_too_many_jobs_and_jobs_after_the_end_are_refused(bench: Bench) -> None:
    bench.job("first", 1)
    for index in range(MAX_WAITING - 1):
        bench.job(f"j{index}", 1)
    with pytest.raises(ResourceLimitError, match="the limit"):
        bench.job("one more", 1)
    bench.gate.set()
    bench.worker.stop(20)
    with pytest.raises(ModelStateError, match="stopping"):
        bench.job("late", 1)


def test_a_worker_that_cannot_start_fails_its_jobs(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ImportError("no torch")

    worker = Worker(lambda job: None, broken)
    job = worker.submit(Job(kind="test", model_id="m", urgency=Urgency.ANSWER, work=lambda: iter(())))  # type: ignore[arg-type,return-value]
    finish(job)
    worker.stop(10)
    assert job.status == "failed" and "no torch" in caplog.text


def test_a_finished_job_keeps_nothing_of_its_work_alive(bench: Bench) -> None:
    job = bench.job("g", 1)
    finish(job)
    assert job.work is None and job.result == "g done"


def test_equals_go_in_the_order_of_arrival(bench: Bench) -> None:
    jobs = [bench.job("first", 1), bench.job("b", 2), bench.job("c", 2)]
    bench.gate.set()
    finish(*jobs)
    assert bench.log == ["first0", "b0", "b1", "c0", "c1"]


def test_a_cancel_stops_at_the_next_safe_point_and_a_queued_job_never_starts(bench: Bench) -> None:
    train, queued = bench.job("first", 100), bench.job("q", 1)
    train.cancel()
    queued.cancel()
    bench.gate.set()
    finish(train, queued)
    assert bench.log == ["first0"]
    assert train.status == queued.status == "cancelled"


def test_a_failure_ends_its_job_and_nothing_else(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ours = bench.job("o", 1, fail=ModelStateError("the reason: do this"))
    fault = bench.job("f", 1, fail=KeyError("secret detail"))
    memory = bench.job("m", 1, fail=MemoryError())
    good = bench.job("g", 1)
    finish(ours, fault, memory, good)
    assert [job.status for job in (ours, fault, memory, good)] == ["failed"] * 3 + ["completed"]
    assert ours.view().error == "the reason: do this"
    assert "secret" not in str(fault.view().error) and "secret detail" in caplog.text
    assert "out of memory" in str(memory.view().error)


def test_waiting_tells_progress_and_ends_in_time(bench: Bench) -> None:
    job = bench.job("first", 5)
    told: list[float] = []

    async def tell(progress: Progress) -> None:
        told.append(progress.share)
        bench.gate.set()

    async def wait() -> bool:
        assert not await job.wait(0.05)
        return await job.wait(20, tell)

    assert anyio.run(wait)
    assert told[0] == 0.0 and told == sorted(told)


def test_stopping_cancels_all_that_is_left(bench: Bench) -> None:
    train = bench.job("first", 1000)
    bench.gate.set()
    bench.worker.stop(10)
    assert train.over
