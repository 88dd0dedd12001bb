"""What waits to be recorded: put in by any thread at any time, taken out when the disk may be written."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """At most `most` items; when nobody fetches them, the oldest make room."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._items: deque[Item] = deque(maxlen=most)

    def add(self, item: Item) -> None:
        """Keep an item until it is fetched."""
        with self._lock:
            self._items.append(item)

    def take(self) -> list[Item]:
        """All items since this was asked last."""
        with self._lock:
            taken = list(self._items)
            self._items.clear()
        return taken
