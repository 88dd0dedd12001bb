"""Steps run to their end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from bitlm_core import steps as module
from bitlm_core.steps import finished, scaled, timed


def counting(taken: list[int]) -> Generator[float, None, str]:
    for step in range(3):
        taken.append(step)
        yield step / 3
    return "found"


def test_all_steps_are_taken_and_what_they_found_comes_back() -> None:
    taken: list[int] = []
    assert finished(counting(taken)) == "found" and taken == [0, 1, 2]


def test_what_they_raise_is_raised() -> None:
    def failing() -> Generator[float, None, str]:
        yield 0.5
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        finished(failing())


def test_steps_become_a_part_of_something_longer() -> None:
    def longer() -> Generator[float, None, str]:
        return (yield from scaled(counting([]), 0.5, 0.8))

    assert list(scaled(counting([]), 0.5, 0.8)) == pytest.approx([0.5, 0.6, 0.7]) and finished(longer()) == "found"


def test_steps_are_timed_without_what_is_done_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def working() -> Generator[float, None, str]:
        clock[0] += 1
        yield 0.5
        clock[0] += 2
        return "found"

    monkeypatch.setattr(module.time, "thread_time", lambda: clock[0])
    steps = timed(working())
    assert next(steps) == 0.5
    clock[0] += 100
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == ("found", 3)
