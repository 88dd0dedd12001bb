"""The order of work: who goes first, who may stop whom, and what a failure costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bitlm_core import BitLMError, ModelStateError
from bitlm_mcp.compute.answers import Dropped
from bitlm_mcp.compute.commands import Command, Drop
from bitlm_mcp.compute.events import Ended, Event, Progress
from bitlm_mcp.compute.executor import ModelLostError, Steps, Stopped
from bitlm_mcp.compute.scheduler import Scheduler, Urgency


class Bench:
    """A scheduler whose commands write down their steps; `gate` holds the first one until all are queued."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.events: dict[str, list[Event]] = {}
        self.plans: dict[str, tuple[int, BaseException | None, bool]] = {}
        self.gate, self.begun = threading.Event(), threading.Event()
        self.changed = threading.Condition()
        self.scheduler = Scheduler(self.execute, self.report)
        self.thread = threading.Thread(target=self.scheduler.run)
        self.thread.start()

    def execute(self, command: Command) -> Steps:
        name = command.model_id  # type: ignore[union-attr]
        steps, failure, saves = self.plans[name]
        try:
            for step in range(steps):
                if name == "first":
                    self.begun.set()
                    assert self.gate.wait(10)
                self.log.append(f"{name}{step}")
                yield Progress(share=(step + 1) / steps, steps_done=step + 1)
            if failure:
                raise failure
        except Stopped:
            if saves:
                self.log.append(f"{name} saved")
                yield Progress(share=0.5, alerts=("saved",))
            raise
        return Dropped()

    def report(self, task_id: str, event: Event) -> None:
        with self.changed:
            self.events.setdefault(task_id, []).append(event)
            self.changed.notify_all()

    def task(
        self,
        name: str,
        steps: int,
        urgency: Urgency = Urgency.TRAIN,
        fail: BaseException | None = None,
        saves: bool = False,
    ) -> str:
        self.plans[name] = steps, fail, saves
        self.scheduler.submit(name, urgency, Drop(model_id=name))
        assert name != "first" or self.begun.wait(10)
        return name

    def end(self, name: str) -> Ended:
        def ended() -> Any:
            return self.events.get(name) and isinstance(self.events[name][-1], Ended)

        with self.changed:
            assert self.changed.wait_for(ended, 20)
        last = self.events[name][-1]
        assert isinstance(last, Ended)
        return last


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.scheduler.close()
    bench.thread.join(10)
    assert not bench.thread.is_alive()


def test_answers_go_between_the_steps_of_a_training(bench: Bench) -> None:
    names = [bench.task("first", 3), bench.task("r", 2, Urgency.READ), bench.task("a", 2, Urgency.ANSWER)]
    bench.gate.set()
    ends = [bench.end(name) for name in names]
    # One step of the training was under way already; then the urgent ones, then the rest of it.
    assert bench.log == ["first0", "a0", "a1", "r0", "r1", "first1", "first2"]
    assert [end.status for end in ends] == ["completed"] * 3 and ends[0].answer == Dropped()


def test_answers_take_turns(bench: Bench) -> None:
    names = [bench.task("first", 1), bench.task("a", 2, Urgency.ANSWER), bench.task("b", 2, Urgency.ANSWER)]
    bench.gate.set()
    for name in names:
        bench.end(name)
    assert bench.log == ["first0", "a0", "b0", "a1", "b1"]


def test_equals_go_in_the_order_of_arrival(bench: Bench) -> None:
    names = [bench.task("first", 1), bench.task("b", 2), bench.task("c", 2)]
    bench.gate.set()
    for name in names:
        bench.end(name)
    assert bench.log == ["first0", "b0", "b1", "c0", "c1"]


def test_a_stop_comes_at_the_next_safe_point_and_a_queued_command_never_starts(bench: Bench) -> None:
    names = [bench.task("first", 100), bench.task("q", 1)]
    for name in (*names, "unknown"):
        bench.scheduler.stop_task(name)
    bench.gate.set()
    assert [bench.end(name).status for name in names] == ["cancelled", "cancelled"]
    assert bench.log == ["first0"]


def test_a_stopped_command_may_save_before_it_ends(bench: Bench) -> None:
    bench.task("first", 100, saves=True)
    bench.scheduler.stop_task("first")
    bench.gate.set()
    assert bench.end("first").status == "cancelled"
    assert bench.log == ["first0", "first saved"]
    assert [getattr(event, "alerts", None) for event in bench.events["first"]] == [(), ("saved",), None]


def test_a_failure_ends_its_command_and_nothing_else(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.task("o", 1, fail=ModelStateError("the reason: do this"))
    bench.task("f", 1, fail=KeyError("secret detail"))
    bench.task("m", 1, fail=MemoryError())
    bench.task("a", 1, fail=RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"))
    bench.task("c", 1, fail=RuntimeError("CUDA out of memory. Tried to allocate …"))
    bench.task("g", 1)
    failures = {name: bench.end(name).failure for name in "ofmac"}
    assert bench.end("g").status == "completed"
    assert all(failure is not None and not failure.model_lost for failure in failures.values())
    errors = {name: failure.error() for name, failure in failures.items() if failure}
    assert type(errors["o"]) is ModelStateError and errors["o"].message == "the reason: do this"
    assert type(errors["f"]) is BitLMError and "secret" not in errors["f"].message and "secret detail" in caplog.text
    assert all("the machine ran out of memory" in errors[name].message for name in "mac")


def test_a_model_that_was_lost_is_told(bench: Bench) -> None:
    lost = ModelLostError()
    lost.__cause__ = MemoryError()
    bench.task("l", 1, fail=lost)
    failure = bench.end("l").failure
    assert failure is not None and failure.model_lost and "out of memory" in failure.message


def test_answers_tell_little_and_trainings_every_step(bench: Bench) -> None:
    bench.task("t", 30)
    bench.task("a", 30, Urgency.ANSWER)
    bench.end("t")
    bench.end("a")
    assert len(bench.events["t"]) == 31 and len(bench.events["a"]) < 20


def test_closing_stops_all_that_is_left_and_all_that_comes(bench: Bench) -> None:
    names = [bench.task("first", 1000), bench.task("q", 1)]
    bench.scheduler.close()
    bench.task("late", 1)
    bench.gate.set()
    assert [bench.end(name).status for name in (*names, "late")] == ["cancelled"] * 3
