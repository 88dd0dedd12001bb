"""Word of changes: none is missed, and a wait that is cancelled ends, whatever happens at the same moment."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bitlm_mcp.events import Changes


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_change_between_looking_and_waiting_is_not_missed() -> None:
    changes = Changes()
    with changes.watch() as watch:
        thread = threading.Thread(target=changes.tell)
        thread.start()
        thread.join()
        assert await watch.next(30)
        assert not await watch.next(0.001)


@pytest.mark.anyio
@pytest.mark.parametrize("turns", range(4))
async def test_a_cancel_that_meets_a_change_is_not_forgotten(turns: int) -> None:
    changes = Changes()
    with changes.watch() as watch:
        waiting = asyncio.create_task(watch.next(30))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        watch.changed.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        if waiting.done():  # the change was told already
            assert waiting.result()
        else:
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
