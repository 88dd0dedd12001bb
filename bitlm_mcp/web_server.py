"""uvicorn, serving one application: our logging, exit code 0 on SIGTERM and SIGINT, and an end that a proxy can follow.

Told to stop, it serves on for `drain_s` seconds, in which /ready says 503, so that a proxy sends nobody here any more; then it
gives what still runs one second more. Another signal ends the draining.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from bitlm_mcp.settings import ServerSettings

logger = logging.getLogger("bitlm")

KEEP_ALIVE_S = 75
"""How long an idle connection stays open. A proxy must give one up earlier: what it sends into one that closes is lost."""


class WebServer(uvicorn.Server):
    """uvicorn that reports its real address and does not die of the signal that stopped it."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, *, own_signals: bool, on_leave: Callable[[], None] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,  # its own would write to stdout
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=1,  # what open event streams get to end
            timeout_keep_alive=KEEP_ALIVE_S,
            # Anybody could name any address as the client's; without this argument uvicorn believes all of this machine.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        super().__init__(config)
        self.own_signals = own_signals
        self.on_leave = on_leave
        self.scheme = "https" if settings.tls_cert else "http"
        self._drain_s = settings.drain_s
        self._stop_at: float | None = None
        self._left = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where, once requests are answered."""
        await super().startup(sockets)
        if self.started:
            for sock in sockets or ():
                host, port = sock.getsockname()[:2]
                logger.info("bitlm: listening on %s://%s:%d", self.scheme, f"[{host}]" if ":" in host else host, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the time to drain; at once on another signal, or where there is no such time."""
        if self._drain_s and self._stop_at is None:
            self._stop_at = time.monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: leave when that was asked for, and stop when it is time to."""
        if self._stop_at is not None:
            self._leave()
            self.should_exit = self.should_exit or time.monotonic() >= self._stop_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell open pages and who waits for a job before they are waited for."""
        self._leave()
        await super().shutdown(sockets)

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self.on_leave()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but the signals are not raised again afterwards: stopping on request is a success."""
        if not self.own_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
