"""Word that something has changed, from any thread to whoever waits on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Remembers a change until it is asked, so that none is missed between looking and waiting."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()

    async def next(self, seconds: float) -> bool:
        """Wait for a change since the last one that was told here, at most `seconds`; whether there was one."""
        try:
            async with asyncio.timeout(seconds):  # before Python 3.12, wait_for forgets a cancel that meets the change
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


class Changes:
    """Waiters look at the state themselves: what is told is only that looking is worth it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """While it lasts, changes are noticed; begin it before the first look."""
        watch = Watch()
        with self._lock:
            self._watches.add(watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    def tell(self) -> None:
        """Wake all who wait; may be called from any thread."""
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            try:
                watch.loop.call_soon_threadsafe(watch.changed.set)
            except RuntimeError:  # that loop has ended, and with it the wait
                with self._lock:
                    self._watches.discard(watch)
