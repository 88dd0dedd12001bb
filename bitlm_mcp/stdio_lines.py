"""The lines of a client on stdin, which cannot fill the memory, neither one alone nor many whose answers nobody reads.

A line that is too long is thrown away as it is read, and its request is answered with an error. JSON-RPC lets a request have
its id before or after its parameters, so the two ends of the line are kept to find it there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import BinaryIO

import anyio
import anyio.to_thread
from anyio.abc import ObjectSendStream
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError

MAX_LINE_BYTES = DEFAULT_MAX_REQUEST_BODY_SIZE
"""As long as what HTTP accepts."""

MAX_UNREAD = 64
"""While more answers than this wait for the client to read, no further line is read."""

_POLL_S = 0.01
_END_BYTES = 1024
_VERSION = r'"jsonrpc"\s*:\s*"2\.0"'
_ID = r'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.){0,512}")'
_FIRST = re.compile(rf"\s*\{{\s*(?:{_VERSION}\s*,\s*)?{_ID}\s*,")
_LAST = re.compile(rf",\s*{_ID}\s*(?:,\s*{_VERSION}\s*)?\}}\s*$")


class BoundedLines:
    """An asynchronous iterator over decoded lines.

    `refused` gets the error of each line that is longer than `limit` bytes; `unread` tells how many answers wait.
    """

    def __init__(self, stdin: BinaryIO, refused: ObjectSendStream[JSONRPCError], limit: int = MAX_LINE_BYTES) -> None:
        self._stdin = stdin
        self._refused = refused
        self._limit = limit
        self.unread: Callable[[], int] = int

    def __aiter__(self) -> BoundedLines:
        return self

    async def __anext__(self) -> str:
        """The next line that is short enough, with its end; bytes that are no UTF-8 are replaced, as the SDK does."""
        while self.unread() > MAX_UNREAD:
            await anyio.sleep(_POLL_S)
        while line := await anyio.to_thread.run_sync(self._stdin.readline, self._limit + 1):
            if len(line) <= self._limit:
                return line.decode("utf-8", errors="replace")
            first, size = line[:_END_BYTES], len(line)
            last = line[-_END_BYTES:]
            while line and not line.endswith(b"\n"):
                line = await anyio.to_thread.run_sync(self._stdin.readline, self._limit)
                size, last = size + len(line), (last + line)[-_END_BYTES:]
            await self._refused.send(refusal(first, last, size, self._limit))
        raise StopAsyncIteration


def refusal(first: bytes, last: bytes, size: int, limit: int) -> JSONRPCError:
    """The answer to a request of which only the two ends are known; its id is null where it cannot be told."""
    found = _FIRST.match(first.decode("utf-8", errors="replace")) or _LAST.search(last.decode("utf-8", errors="replace"))
    message = (
        f"the request has {size:,} bytes, more than {limit:,}: store large data as a file in a folder that the server may "
        "read, and call add_dataset with its path"
    )
    error = ErrorData(code=INVALID_REQUEST, message=message)
    return JSONRPCError(jsonrpc="2.0", id=json.loads(found[1]) if found else None, error=error)
