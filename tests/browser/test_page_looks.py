"""How the page looks: quickly, with a long history, in all sizes, to all people."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bitlm_mcp import dashboard
from bitlm_mcp.database import Database
from bitlm_mcp.records import Records
from bitlm_mcp.snapshot import HistoryPoint
from tests.browser.servers import Play, Server, agent, serving

STATIC = Path(dashboard.__file__).parent / "static"
POINTS = 10_000
MAX_PAGE_BYTES = 100_000

pytestmark = pytest.mark.anyio


def point(step: int) -> HistoryPoint:
    bits = 3 + 4 * math.exp(-step / 2000) + 0.3 * math.sin(step * step)
    measured = 0.5 + 0.3 * math.sin(step / 300) if step % 10 == 0 else None
    return HistoryPoint(step, bits * math.log(2), bits, bits - 0.5, 1 + math.sin(step), 1e-3, measured, measured, measured)


def remember(state: Path, model_id: str) -> None:
    """Give a saved model the record of a long training."""
    database = Database(state / "bitlm.db")
    records = Records(database)
    row = records.models()[model_id]
    row.facts["step"] = POINTS
    with records.transaction() as transaction:
        records.save_model(transaction, row, map(point, range(1, POINTS + 1)), (), afresh=False)
    database.close()


async def test_a_long_history_is_drawn_and_read(tmp_path: Path, play: Play) -> None:
    state = tmp_path / "state"
    with serving(state) as before:
        async with agent(before) as tools:
            for model_id in ("old", "new"):
                await tools.trained(model_id, steps=1)
    remember(state, "old")
    with serving(state) as server:
        await play("points.mjs", address=server.address, model="old", other="new", steps=POINTS)


async def test_the_first_paint_comes_soon(server: Server, play: Play, figures: dict[str, object]) -> None:
    async with agent(server) as tools:
        await tools.trained("seen", steps=20)
    await play("paint.mjs", address=server.address)
    figures["page_bytes"] = total = sum(path.stat().st_size for path in STATIC.iterdir())
    assert total <= MAX_PAGE_BYTES
