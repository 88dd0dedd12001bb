"""How the page looks: quickly, with a long history, in all sizes, to all people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp import dashboard
from bitlm_mcp.database import Database
from bitlm_mcp.demo import default_text
from bitlm_mcp.records import Records
from bitlm_mcp.snapshot import HistoryPoint
from tests.browser.servers import Play, Server, agent, serving

STATIC = Path(dashboard.__file__).parent / "static"
POINTS = 10_000
MAX_PAGE_BYTES = 100 * 1024
OUTPUT = Path(__file__).parent / "output"
README_PICTURES = Path(__file__).parents[2] / "examples" / "screenshots"
MAX_PICTURE_BYTES = 300_000
DATASET = "python-reference"
SECONDS = 60
"""Of training before the pictures are taken."""

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
        records.save_model(transaction, row, map(point, range(1, POINTS + 1)), (), (), afresh=False)
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


async def test_all_people_can_use_it(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools("add_dataset", dataset_id="data", text="abc " * 500)
        await tools.trained("seen", steps=20)
        await tools("save_checkpoint", name="kept", model_id="seen")
    await play("people.mjs", address=server.address, model="seen", limit_s=300)


async def test_pictures_in_three_sizes(server: Server, play: Play) -> None:
    """Of a real run: the text that comes with Python, learned by a small network with context mixing."""
    for folder in (OUTPUT, README_PICTURES):
        folder.mkdir(exist_ok=True)
    async with agent(server) as tools:
        await tools("add_dataset", dataset_id=DATASET, text=default_text().decode())
        await tools("init_model", model_id="reference", preset="tiny", mixing_memory_mib=32)
        learning = {"model_id": "reference", "dataset_id": DATASET, "validate_every": 20, "wait_s": 0}
        started = await tools("train_step", seconds=SECONDS, **learning)
        status: object = "running"
        while status == "running":
            status = (await tools("wait_job", job_id=started["job_id"], wait_s=45))["status"]
        assert status == "completed"
        await tools("save_checkpoint", name="after-a-minute", model_id="reference")
        again = await tools("train_step", seconds=600, **learning)

        async def rest() -> None:
            await tools("cancel_job", job_id=again["job_id"])

        given: dict[str, Any] = {
            "folder": str(OUTPUT),
            "readme": str(README_PICTURES),
            "model": "reference",
            "dataset": DATASET,
        }
        await play("pictures.mjs", {"rest": rest}, address=server.address, **given)
    pictures = list(README_PICTURES.glob("*.png"))
    assert len(pictures) == 3
    assert max(picture.stat().st_size for picture in pictures) < MAX_PICTURE_BYTES
