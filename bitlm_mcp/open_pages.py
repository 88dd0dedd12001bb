"""Open pages for `bitlm bench pages`, in a process of their own, so that what reading costs is not counted with the server.

stdin:  a line with the port; then a line with the number of streams to open, all at once; then an empty line: close them, …
stdout: `ready` when each has had its first event; then what was read meanwhile, as a line of JSON, see `Read`

A stream is a plain socket whose bytes are thrown away; the first is looked through for the steps it tells of. One whose words
are cut in two by a read is missed.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

READ_BYTES = 1 << 16
_STEP = re.compile(rb'"step":(\d+),"loss"')
"""In a point of a model's history."""


@dataclass
class Read:
    """`bytes_` by all streams; `steps`: when the first stream told of a step first, seconds of the monotonic clock."""

    bytes_: int = 0
    steps: dict[int, float] = field(default_factory=dict)


def serve() -> None:
    """Do as stdin says until it ends."""
    orders = iter(sys.stdin)
    port = int(next(orders))
    for line in orders:
        streams = [_opened(port) for _ in range(int(line))]
        _say("ready")
        read = Read()
        with selectors.DefaultSelector() as ready:
            ready.register(sys.stdin, selectors.EVENT_READ)
            for stream in streams:
                ready.register(stream, selectors.EVENT_READ)
            for chunk in _first_ones(ready, streams[0] if streams else None, read):
                _look_through(chunk, read)
        next(orders)
        for stream in streams:
            stream.close()
        _say(json.dumps(asdict(read)))


def _opened(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), timeout=60)
    stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    had = b""
    while b"event: state" not in had:
        had += stream.recv(READ_BYTES)
    return stream


def _first_ones(ready: selectors.BaseSelector, first: socket.socket | None, read: Read) -> Iterator[bytes]:
    """What comes on the first stream, until there is something on stdin."""
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            stream: socket.socket = key.fileobj  # type: ignore[assignment]
            chunk = stream.recv(READ_BYTES)
            read.bytes_ += len(chunk)
            if stream is first:
                yield chunk


def _look_through(chunk: bytes, read: Read) -> None:
    now = time.monotonic()
    for found in _STEP.finditer(chunk):
        read.steps.setdefault(int(found[1]), now)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
