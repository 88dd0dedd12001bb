"""Long work is a generator that yields the share done and returns what it found; here is how to have it all at once, and how
to make it a part of something longer, and how to time it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Given = TypeVar("Given")
Told = TypeVar("Told")
Returned = TypeVar("Returned")


def finished(steps: Generator[Any, None, Returned]) -> Returned:
    """Run steps to their end; what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned


def scaled(steps: Generator[float, None, Returned], start: float, end: float) -> Generator[float, None, Returned]:
    """The same steps as a part of something longer: its shares from `start` to `end`, never beyond."""
    return mapped(steps, lambda done: min(end, start + (end - start) * done))


def mapped(steps: Generator[Given, None, Returned], change: Callable[[Given], Told]) -> Generator[Told, None, Returned]:
    """The same steps, of which something else is told at each."""
    while True:
        try:
            given = next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned
        yield change(given)


def timed(steps: Generator[float, None, Returned]) -> Generator[float, None, tuple[Returned, float]]:
    """The same steps; what they return, and the CPU seconds that they took this thread, whatever was done in between."""
    seconds = 0.0
    while True:
        started = time.thread_time()
        try:
            done = next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned, seconds + time.thread_time() - started
        seconds += time.thread_time() - started
        yield done
