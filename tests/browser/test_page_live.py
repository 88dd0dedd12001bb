"""The page shows what happens while it happens, whatever happens to the server, the network and the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.servers import Play, Server, agent, serving

pytestmark = pytest.mark.anyio


async def test_it_follows_a_training_and_cancels_it(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        job = await tools.training("on-the-page")
        await play("follow.mjs", address=server.address, model="on-the-page")
        assert (await tools("wait_job", job_id=job, wait_s=0))["status"] == "cancelled"


async def test_two_tabs_show_the_same_at_the_same_time(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.training("shared")
        await play("tabs.mjs", address=server.address, model="shared")


async def test_the_server_ends_and_comes_back_under_it(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.trained("kept", steps=20)

    async def train(steps: int) -> None:
        async with agent(server) as tools:
            await tools.train("kept", steps)

    async def does(act: Any) -> None:
        act()

    answers = {
        "stop": lambda: does(server.stop),
        "kill": lambda: does(server.kill),
        "start": lambda: does(server.start),
        "train": train,
    }
    await play("restart.mjs", answers, address=server.address, model="kept")


async def test_a_slow_network_and_none_at_all(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.training("far-away")
        await play("slow.mjs", address=server.address, model="far-away")


async def test_two_servers_share_what_there_is(server: Server, play: Play) -> None:
    with serving(server.state) as other:

        async def train() -> dict[str, Any]:
            async with agent(other) as tools:
                return {"job_id": await tools.training("of-the-other")}

        await play("servers.mjs", {"train": train}, address=server.address, other=other.address, model="of-the-other")


async def test_from_the_step_to_the_pixel(tmp_path: Path, play: Play) -> None:
    witness = tmp_path / "published"

    async def published() -> list[list[float]]:
        return [[float(number) for number in line.split()] for line in witness.read_text().splitlines()]

    with serving(tmp_path / "state", witness=witness) as server:
        async with agent(server) as tools:
            await tools.training("timed")
            await play("latency.mjs", {"published": published}, address=server.address, model="timed", steps=300)


async def test_a_page_left_open_does_not_grow(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.trained("kept", steps=20)
    await play("day.mjs", address=server.address, model="kept")
