"""What the streams of a legacy session have sent, for a client that lost its connection and comes back with Last-Event-ID.

In memory and bounded: the oldest events make room, and a client that asks for one of those begins anew.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import NamedTuple

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

MAX_EVENTS = 1000
MAX_BYTES = 1 << 20


class _Event(NamedTuple):
    stream_id: StreamId
    message: JSONRPCMessage | None
    size: int


class RecentEvents(EventStore):
    """The latest events of all streams of one session."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._numbers = itertools.count(1)
        self._events: OrderedDict[EventId, _Event] = OrderedDict()
        self._bytes = 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keep an event; its id."""
        event_id = str(next(self._numbers))
        size = len(message.model_dump_json()) if message is not None else 0
        self._events[event_id] = _Event(stream_id, message, size)
        self._bytes += size
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self._bytes -= self._events.popitem(last=False)[1].size
        return event_id

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send what followed on the stream of that event; its stream, or None when it is not known any more."""
        known = self._events.get(last_event_id)
        if known is None:
            return None
        later = itertools.dropwhile(lambda event_id: event_id != last_event_id, list(self._events))
        next(later)
        for event_id in later:
            event = self._events.get(event_id)
            if event is not None and event.stream_id == known.stream_id and event.message is not None:
                await send_callback(EventMessage(event.message, event_id))
        return known.stream_id
