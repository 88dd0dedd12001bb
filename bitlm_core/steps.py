"""Long work is a generator that yields the share done and returns what it found; here is how to have it all at once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

Returned = TypeVar("Returned")


def finished(steps: Generator[Any, None, Returned]) -> Returned:
    """Run steps to their end; what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned
