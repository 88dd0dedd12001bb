"""What waits to be recorded is handed out once, in its order, and never more of it than may wait."""

from __future__ import annotations

from bitlm_mcp.outbox import Outbox


def test_what_is_taken_is_gone_and_the_oldest_make_room() -> None:
    box: Outbox[int] = Outbox(3)
    assert box.take() == []
    for item in range(5):
        box.add(item)
    assert box.take() == [2, 3, 4] and box.take() == []
