"""The channel of a call that has no client of the protocol to talk back to: one that was answered, or one of the page."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.transport_context import TransportContext


class SilentDispatch:
    """Nothing can be asked here, and what would be told is dropped."""

    can_send_request = False
    message_metadata = None

    def __init__(self, kind: str) -> None:
        self.transport = TransportContext(kind=kind, can_send_request=False)
        self.cancel_requested = anyio.Event()

    @property
    def request_id(self) -> str | None:
        """No request of the protocol stands behind this."""
        return None

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        """Refuse: there is nobody to ask."""
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Drop: there is nobody to tell."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Drop: who cares looks at the job."""
