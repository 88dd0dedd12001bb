"""Word of changes to clients that asked for it, in both eras, at most four times a second.

Modern clients listen on a stream (`subscriptions/listen`), which the SDK serves from a bus. Legacy clients subscribe to single
resources; for them this module keeps who wants what, and sends on each session's own channel.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

from bitlm_mcp.resources import CHECKPOINTS, STATUS, alerts_uri, job_uri, model_uri, telemetry_uri
from bitlm_mcp.server_internals import low_level, same_connection
from bitlm_mcp.snapshot import Snapshot
from bitlm_mcp.workspace import Workspace

log = logging.getLogger("bitlm.notifications")

INTERVAL_S = 0.25
IDLE_S = 3600.0
SEND_TIMEOUT_S = 5.0
MAX_SUBSCRIPTIONS = 1000
MAX_URI = 2048


class Notifications:
    """The subscriptions of one server. `bus` is handed to the SDK."""

    def __init__(self, workspace: Workspace) -> None:
        self.bus = InMemorySubscriptionBus()
        self._workspace = workspace
        self._legacy: dict[str, list[ServerSession]] = {}

    def register(self, server: MCPServer[Any]) -> None:
        """Serve resources/subscribe and resources/unsubscribe to legacy clients."""
        inner = low_level(server)
        inner.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        inner.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)

    async def run(self) -> None:
        """Tell changes for as long as the server lives."""
        told = self._workspace.snapshot
        with self._workspace.changes.watch() as watch:
            while True:
                await watch.next(IDLE_S)
                now = self._workspace.snapshot
                for event in changes(told, now):
                    await self.bus.publish(event)
                    if isinstance(event, ResourceUpdated):
                        await self._tell_legacy(str(event.uri))
                told = now
                await anyio.sleep(INTERVAL_S)

    async def _subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        uri = str(params.uri)
        if len(uri) > MAX_URI or sum(map(len, self._legacy.values())) >= MAX_SUBSCRIPTIONS:
            raise MCPError(INVALID_PARAMS, f"there are {MAX_SUBSCRIPTIONS:,} subscriptions already, or the URI is too long")
        sessions = self._legacy.setdefault(uri, [])
        if not any(same_connection(ctx.session, session) for session in sessions):
            sessions.append(ctx.session)
        return EmptyResult()

    async def _unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._drop(str(params.uri), ctx.session)
        return EmptyResult()

    async def _tell_legacy(self, uri: str) -> None:
        for session in list(self._legacy.get(uri, ())):
            try:
                with anyio.fail_after(SEND_TIMEOUT_S):
                    await session.send_resource_updated(uri)
            except Exception as error:  # whatever it is, that client does not listen any more
                log.info("a subscription to %s has ended: %s", uri, type(error).__name__)
                self._drop(uri, session)

    def _drop(self, uri: str, session: ServerSession) -> None:
        left = [other for other in self._legacy.get(uri, ()) if not same_connection(other, session)]
        if left:
            self._legacy[uri] = left
        else:
            self._legacy.pop(uri, None)


def changes(before: Snapshot, now: Snapshot) -> list[ServerEvent]:
    """Which resources differ between two snapshots."""
    if before.version == now.version:
        return []
    events: list[ServerEvent] = [ResourceUpdated(uri=STATUS)]
    for model_id, view in now.models.items():
        known = before.models.get(model_id)
        if (known.alerts if known else ()) != view.alerts:
            events.append(ResourceUpdated(uri=alerts_uri(model_id)))
        if known is not view:
            events += [ResourceUpdated(uri=model_uri(model_id)), ResourceUpdated(uri=telemetry_uri(model_id))]
    events += [ResourceUpdated(uri=job_uri(job_id)) for job_id, view in now.jobs.items() if before.jobs.get(job_id) != view]
    if before.checkpoints != now.checkpoints:
        events.append(ResourceUpdated(uri=CHECKPOINTS))
    if before.models.keys() != now.models.keys():
        events.append(ResourcesListChanged())
    return events
