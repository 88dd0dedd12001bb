"""Calls without a client to talk back to: nothing can be asked, and what is told goes nowhere."""

from __future__ import annotations

import pytest
from mcp.shared.exceptions import NoBackChannelError

from bitlm_mcp.silent_dispatch import SilentDispatch


@pytest.mark.anyio
async def test_nothing_can_be_asked_and_telling_does_nothing() -> None:
    silent = SilentDispatch("page")
    assert silent.request_id is None and not silent.can_send_request and not silent.transport.can_send_request
    await silent.progress(0.5, 1.0, "half")
    await silent.notify("notifications/progress", {})
    with pytest.raises(NoBackChannelError):
        await silent.send_raw_request("elicitation/create", {})
