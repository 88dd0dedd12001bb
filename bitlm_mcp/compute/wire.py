"""Lines of JSON between the server and the compute process."""

from __future__ import annotations

from typing import Literal

from bitlm_mcp.compute.commands import Command
from bitlm_mcp.compute.events import Event
from bitlm_mcp.compute.messages import Message
from bitlm_mcp.settings import Device


class Begin(Message):
    """The first line to the compute process: how it is to work."""

    threads: int | None
    device: Device


class Order(Message):
    """To the compute process: submit a command, stop a task, or close."""

    do: Literal["submit", "stop", "close"]
    task_id: str = ""
    urgency: int = 0
    command: Command | None = None


class Told(Message):
    """From the compute process: an event of a task."""

    task_id: str
    event: Event
