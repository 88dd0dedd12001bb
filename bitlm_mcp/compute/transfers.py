"""What goes to a hub and comes from it: each transfer in a thread of its own, beside the compute side and never in its way.

Its events are those of a command: progress, and one `Ended`. A transfer that is to stop does so at the next piece of a file, or
when a hub that says nothing has been waited for long enough.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

import bitlm_core
from bitlm_core import BitLMError, CheckpointError, CheckpointInfo, CheckpointStore, link_or_copy, make_folder
from bitlm_mcp.compute.events import Ended, Progress
from bitlm_mcp.compute.hub_messages import Fetched, Push, Pushed, Transfer
from bitlm_mcp.compute.messages import ModelFacts
from bitlm_mcp.compute.scheduler import QUIET_S, Report, failure_of
from bitlm_mcp.compute.stopping import Stopped
from bitlm_mcp.settings import HubSettings

log = logging.getLogger("bitlm.hub")

SCRATCH = "hub"
"""The folder of a state directory for what is on its way."""


@contextmanager
def in_use(state_dir: Path) -> Iterator[Path]:
    """The folder for what is on its way, which no server that starts meanwhile empties."""
    make_folder(state_dir / SCRATCH)
    with _locked(state_dir / SCRATCH, fcntl.LOCK_SH):
        yield state_dir / SCRATCH


def sweep(state_dir: Path) -> None:
    """Remove what earlier transfers have left, unless a command has it in use. Only for when no server transfers."""
    folder = state_dir / SCRATCH
    with suppress(FileNotFoundError, BlockingIOError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def keep_pulled(
    store: CheckpointStore,
    name: str,
    fetched: bitlm_core.Fetched | Fetched,
    facts: ModelFacts,
    overwrite: bool,
    guard: Callable[[CheckpointInfo], AbstractContextManager[object]] = nullcontext,
) -> CheckpointInfo:
    """Make what was pulled, and has loaded, a checkpoint. Raises as `CheckpointStore.publish`; then nothing has changed."""
    data = store.scratch(name)
    try:
        link_or_copy(fetched.path, data)
    except OSError as error:
        with suppress(OSError):
            data.unlink()
        raise CheckpointError(
            f"checkpoint {name!r} could not be stored: {error.strerror or error}. What was there before is unchanged: free "
            "some space, or check the state directory",
            name=name,
        ) from error
    summary = facts.model_dump(mode="json") | {"pulled_from": f"{fetched.repo}@{fetched.commit}"}
    return store.publish(name, data, step=facts.step, summary=summary, overwrite=overwrite, guard=guard)


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
        store = CheckpointStore(self._state_dir / "checkpoints")
        how = transfer.model_dump(include={"parent_commit", "private", "license_id"})
        made = bitlm_core.push_checkpoint(hub, store, transfer.checkpoint, transfer.repo, scratch=scratch, told=tell, **how)
        return Pushed(**asdict(made))
