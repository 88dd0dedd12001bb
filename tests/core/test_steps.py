"""Steps run to their end."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from bitlm_core.steps import finished, scaled


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
