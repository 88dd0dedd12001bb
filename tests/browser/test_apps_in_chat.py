"""The pages of show_training and show_surprise in a host's chat: the official AppBridge, and the app in a sandboxed frame."""

from __future__ import annotations

import pytest

from tests.browser.servers import Play, Server, agent

pytestmark = pytest.mark.anyio
TEXT = "".join(f"{number} bottles of beer on the wall, {number} bottles of beer. " for number in range(99, 50, -1))


async def test_a_training_is_followed_in_the_chat(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.training("in-the-chat")
        await play("training_app.mjs", address=server.address, model="in-the-chat")


async def test_surprise_is_looked_at_in_the_chat(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        await tools.trained("in-the-chat", steps=5)
        await play("surprise_app.mjs", address=server.address, model="in-the-chat", text=TEXT)
