"""What goes to a hub and comes from it: each transfer in a thread of its own, beside the compute side and never in its way.

Its events are those of a command: progress, and one `Ended`. A transfer that is to stop does so at the next piece of a file, or
when a hub that says nothing has been waited for long enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import bitlm_core
from bitlm_core import BitLMError
from bitlm_mcp.compute.events import Ended, Progress
from bitlm_mcp.compute.hub_messages import Fetched, Push, Pushed, Transfer
from bitlm_mcp.compute.scheduler import QUIET_S, Report, failure_of
from bitlm_mcp.compute.stopping import Stopped
from bitlm_mcp.settings import HubSettings

log = logging.getLogger("bitlm.hub")

SCRATCH = "hub"
"""The folder of a state directory for what is on its way."""


def sweep(state_dir: Path) -> None:
    """Remove what transfers of earlier servers have left. Only for when nobody transfers."""
    for path in (state_dir / SCRATCH).glob("*"):
        path.unlink(missing_ok=True)


class Transfers:
    """Those of one server process; events are reported in the threads of the transfers."""

    def __init__(self, report: Report, settings: HubSettings, state_dir: Path) -> None:
        self._report = report
        self._settings = settings
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._closed = False

    def check(self, *, token: bool) -> None:
        """Raise HubError when the hub must not be asked, ConfigError when it takes a token and there is none."""
        with self._lock:  # the library's settings are made at the first use
            self._settings.hub().require(token=token)

    def submit(self, task_id: str, transfer: Transfer) -> None:
        """Begin a transfer; its events name the task."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(task_id, transfer, stop), name="bitlm-hub", daemon=True)
        with self._lock:
            self._running[task_id] = (thread, stop)
        thread.start()

    def stop_task(self, task_id: str) -> None:
        """End a transfer at its next safe point; unknown tasks are ignored."""
        with self._lock:
            _, stop = self._running.get(task_id, (None, None))
        if stop is not None:
            stop.set()

    def close(self, timeout_s: float) -> None:
        """End all transfers; nothing more is told of those that take longer."""
        with self._lock:
            running = list(self._running.values())
        deadline = time.monotonic() + timeout_s
        for _, stop in running:
            stop.set()
        for thread, _ in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._closed = True

    def _run(self, task_id: str, transfer: Transfer, stop: threading.Event) -> None:
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            if stop.is_set():
                raise Stopped
            if time.monotonic() - told >= QUIET_S:
                told = time.monotonic()
                self._report(task_id, Progress(share=share))

        event = self._carried_out(transfer, tell)
        with self._lock:
            del self._running[task_id]
        if not self._closed:
            self._report(task_id, event)

    def _carried_out(self, transfer: Transfer, tell: Callable[[float], None]) -> Ended:
        try:
            tell(0.0)
            return Ended(status="completed", answer=self._answer(transfer, tell))
        except Stopped:
            return Ended(status="cancelled")
        except Exception as error:  # the boundary: whatever a transfer raises ends it, and nothing else
            if not isinstance(error, BitLMError):
                log.exception("%s failed", type(transfer).__name__)
            return Ended(status="failed", failure=failure_of(error))

    def _answer(self, transfer: Transfer, tell: Callable[[float], None]) -> Pushed | Fetched:
        hub, scratch = self._settings.hub(), self._state_dir / SCRATCH
        if not isinstance(transfer, Push):
            found = bitlm_core.fetch_checkpoint(hub, transfer.repo, scratch=scratch, revision=transfer.revision, told=tell)
            return Fetched(**asdict(found))
        store = bitlm_core.CheckpointStore(self._state_dir / "checkpoints")
        how = transfer.model_dump(include={"parent_commit", "private", "license_id"})
        made = bitlm_core.push_checkpoint(hub, store, transfer.checkpoint, transfer.repo, scratch=scratch, told=tell, **how)
        return Pushed(**asdict(made))
