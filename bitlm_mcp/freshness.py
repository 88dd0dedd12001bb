"""Before a client is answered, this server takes note of what the other servers of its state directory have done.

So a client whose requests go now to one server and now to another finds everywhere what it was told anywhere.
"""

from __future__ import annotations

import logging
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext

from bitlm_core import BitLMError
from bitlm_mcp.tools.waiting import off_loop
from bitlm_mcp.workspace import Workspace

log = logging.getLogger("bitlm.workspace")

ABOUT_THE_STATE = frozenset(
    {
        "tools/call",
        "resources/list",
        "resources/read",
        "completion/complete",
        "tasks/get",
        "tasks/update",
        "tasks/cancel",
        "subscriptions/listen",
    }
)


async def caught_up(workspace: Workspace) -> None:
    """Take note of what the others have done; a disk that refuses leaves everything as it was seen last."""
    try:
        await off_loop(workspace.catch_up)
    except BitLMError as error:
        log.warning("what other servers have done is not known: %s", error.message)


def catching_up(workspace: Workspace) -> ServerMiddleware[Any]:
    """Middleware of the SDK's server that does it before what is asked about the state."""

    async def catch_up_first(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method in ABOUT_THE_STATE:
            await caught_up(workspace)
        return await call_next(ctx)

    return catch_up_first
