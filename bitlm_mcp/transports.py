"""How the server meets the world: stdio or HTTP, from the first byte to a clean exit.

stdio: file descriptors 0 and 1 belong to the protocol alone. They are moved away first, so that whatever a
library prints ends up on stderr. The process ends when stdin ends, on SIGTERM or SIGINT, or when its parent is
gone; then `on_stop` saves and joins, and `os._exit` leaves without unwinding, because the SDK's blocked read of
stdin cannot be cancelled.

HTTP: see `web_server`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, NoReturn

import anyio
import anyio.to_thread
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError
from starlette.types import ASGIApp

from bitlm_mcp.app import Background, run_background
from bitlm_mcp.descriptors import claim_standard_streams
from bitlm_mcp.errors import PortError
from bitlm_mcp.server_internals import low_level, waiting_to_send
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.stdio_lines import BoundedLines
from bitlm_mcp.web_server import WebServer

logger = logging.getLogger("bitlm")

STOP_TIMEOUT_S = 10.0
PARENT_POLL_S = 0.5
PORTS_TO_TRY = 20


@dataclass(frozen=True)
class Wires:
    """The protocol's own ends of stdin and stdout, and the process that gave them to us."""

    stdin: BinaryIO
    stdout: io.TextIOWrapper
    parent: int


def claim_stdio() -> Wires:
    """Take stdin and stdout for the protocol, as `claim_standard_streams` does."""
    stdin, stdout = claim_standard_streams()
    return Wires(
        os.fdopen(stdin, "rb"),
        io.TextIOWrapper(os.fdopen(stdout, "wb"), encoding="utf-8", newline="\n"),
        os.getppid(),
    )


def listen(host: str, port: int, attempts: int = 1) -> socket.socket:
    """A bound socket on the first free of `attempts` ports; port 0 means any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + attempts, 65_536)):
        sock = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            # Lets a restart take the port at once; elsewhere the same option would let two servers share it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
            # Without this a second server could bind the port too, and only fail once it listens.
            sock.listen(128)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                reason = error.strerror or str(error)
                raise PortError(f"cannot listen on {host}:{port}: {reason}", host=host, port=port) from error
        else:
            return sock
    raise PortError(
        f"port {port} of {host} is in use: stop the other program, or choose another with --port (0 takes any)",
        host=host,
        port=port,
    )


def run_http(
    app: ASGIApp, settings: ServerSettings, *, on_stop: Callable[[], None], on_leave: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or SIGINT; a busy port is a `PortError`, a failed start a `RuntimeError`.

    `on_leave`, `on_stop`: see `Assembly`.
    """
    try:
        sock = listen(settings.host, settings.port)
        server = WebServer(app, settings, own_signals=True, on_leave=on_leave)
        server.run(sockets=[sock])
        if not server.started:
            raise RuntimeError("the web application did not start; the log above says why")
    finally:
        if not _finalise(on_stop):
            _leave(1)


def run_stdio(
    server: MCPServer[Any],
    settings: ServerSettings,
    *,
    on_stop: Callable[[], None],
    background: Sequence[Background] = (),
    dashboard: ASGIApp | None = None,
    wires: Wires | None = None,
) -> NoReturn:
    """Serve the client on stdin and stdout, then end the process with 0.

    `dashboard` is served beside it on the next free port from `settings.port`; it must not run `background` too.
    """
    claimed = wires or claim_stdio()

    async def main() -> None:
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_watch_signals, stop)
            group.start_soon(_watch_parent, claimed.parent, stop)
            group.start_soon(_serve_wires, server, claimed, stop)
            for task in background:
                group.start_soon(run_background, task)
            if dashboard is not None:
                group.start_soon(_serve_beside, dashboard, settings)
            await stop.wait()
            # The loop stays alive meanwhile: what is being stopped may still want to report to it.
            _leave(0 if await anyio.to_thread.run_sync(_finalise, on_stop) else 1)

    anyio.run(main)
    _leave(1)


async def _watch_signals(stop: anyio.Event) -> None:
    # Windows has no signal receiver; there the end of stdin and the default handlers have to do.
    if sys.platform == "win32":
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("bitlm: stopping on %s", number.name)
            stop.set()


async def _watch_parent(parent: int, stop: anyio.Event) -> None:
    """An orphan would hold its memory for ever: stdin may have been inherited by someone who lives on."""
    while os.getppid() == parent:
        await anyio.sleep(PARENT_POLL_S)
    logger.info("bitlm: stopping, the parent process is gone")
    stop.set()


async def _serve_wires(server: MCPServer[Any], wires: Wires, stop: anyio.Event) -> None:
    inner = low_level(server)
    try:
        refuse, refused = anyio.create_memory_object_stream[JSONRPCError]()
        lines = BoundedLines(wires.stdin, refuse)
        stdin: Any = lines  # the SDK only iterates over it
        async with stdio_server(stdin, anyio.wrap_file(wires.stdout)) as (reading, writing), anyio.create_task_group() as group:
            lines.unread = partial(waiting_to_send, writing)
            group.start_soon(_answer_refused, refused, writing.clone())
            await inner.run(reading, writing, inner.create_initialization_options())
            group.cancel_scope.cancel()
    except* (BrokenPipeError, ConnectionError):
        logger.info("bitlm: the client closed its end")
    except* Exception:
        logger.exception("bitlm: the stdio transport failed")
    stop.set()


async def _answer_refused(refused: ObjectReceiveStream[JSONRPCError], writing: ObjectSendStream[SessionMessage]) -> None:
    async with writing:
        async for error in refused:
            await writing.send(SessionMessage(error))


async def _serve_beside(app: ASGIApp, settings: ServerSettings) -> None:
    """The dashboard is a convenience: that it cannot start is no reason to refuse the client on stdio."""
    try:
        sock = listen(settings.host, settings.port, attempts=PORTS_TO_TRY)
        await WebServer(app, settings, own_signals=False).serve(sockets=[sock])
    except Exception as error:
        logger.warning("bitlm: no dashboard: %s", error)


def _finalise(on_stop: Callable[[], None]) -> bool:
    """Whether `on_stop` ended well and in time; what goes wrong is logged, nobody else is left to tell."""
    finished = threading.Event()

    def stop() -> None:
        try:
            on_stop()
            finished.set()
        except Exception:
            logger.exception("bitlm: stopping failed; the last changes may not be saved")

    # A daemon, so that a compute thread that never joins cannot keep the process alive.
    thread = threading.Thread(target=stop, name="bitlm-stop", daemon=True)
    thread.start()
    thread.join(STOP_TIMEOUT_S)
    if thread.is_alive():
        logger.error("bitlm: not stopped after %g s, leaving; the last changes may not be saved", STOP_TIMEOUT_S)
    return finished.is_set()


def _leave(code: int) -> NoReturn:
    """End now: interpreter shutdown would wait for a read of stdin and abort compute threads."""
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
