"""What a person does on the page: every form of it, by mouse and by keyboard."""

from __future__ import annotations

import pytest

from tests.browser.servers import TINY, Play, Server, agent

pytestmark = pytest.mark.anyio


async def test_the_form_says_how_a_model_is_watched(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        for model_id in ("watched", "other"):
            await tools("init_model", **(TINY | {"model_id": model_id}))
    await play("settings.mjs", address=server.address, model="watched", other="other")
