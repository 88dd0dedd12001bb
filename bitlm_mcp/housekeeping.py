"""What a server does from time to time: show itself, look at what the others have done, and forget what is old.

Off the event loop, in one thread at a time; a disk that refuses is logged, and tried again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import anyio
import anyio.to_thread

from bitlm_core import BitLMError
from bitlm_mcp.call_gate import CallLog
from bitlm_mcp.history import MAX_MARKS
from bitlm_mcp.workspace import Workspace

log = logging.getLogger("bitlm.housekeeping")

TICK_S = 0.5


class Housekeeper:
    """The chores of one workspace, each with the seconds between two times."""

    def __init__(self, workspace: Workspace, calls: CallLog) -> None:
        self._workspace = workspace
        self._calls = calls
        self._told: dict[str, float] = {}
        self._chores: list[tuple[float, Callable[[], None]]] = [
            (TICK_S, self.record_calls),
            (TICK_S, self.look),
            (TICK_S, self.share),
            (2.0, self.tell),
            (5.0, self.live),
            (600.0, self.forget),
        ]
        self._due = [0.0] * len(self._chores)

    async def run(self) -> None:
        """Do the chores for as long as the server lives."""
        while True:
            await anyio.to_thread.run_sync(self.tick)
            await anyio.sleep(TICK_S)

    def tick(self) -> None:
        """Do the chores that are due."""
        for index, (every_s, chore) in enumerate(self._chores):
            now = time.monotonic()
            if now >= self._due[index]:
                self._due[index] = now + every_s
                try:
                    chore()
                except BitLMError as error:
                    if self._workspace.closing:
                        return
                    log.warning("%s", error.message)
                except Exception:  # the other chores must go on, and this one too, at its next turn
                    log.exception("a chore failed")

    def look(self) -> None:
        """Take note of what other servers have done, and stop the jobs that they were asked to stop."""
        workspace = self._workspace
        if workspace.database.changed():
            for job_id in workspace.records.to_cancel(workspace.presence.server_id):
                workspace.runner.stop(job_id)
            workspace.catch_up()
        else:
            workspace.show_activity()

    def share(self) -> None:
        """Let other servers, where there are any, see at once how far the jobs and the curves of this one are."""
        if len(self._workspace.snapshot.servers) > 1:
            self.tell()
            self._workspace.models.tell()

    def tell(self) -> None:
        """Record how far the jobs of this server are."""
        for job in self._workspace.runner.unfinished():
            if job.recorded and self._told.get(job.job_id) != job.progress.share:
                self._told[job.job_id] = job.progress.share
                self._workspace.records.update_progress(job.view(), self._workspace.presence.server_id)
        self._told = {job.job_id: self._told.get(job.job_id, 0.0) for job in self._workspace.runner.unfinished()}

    def record_calls(self) -> None:
        """Record the tool calls since the last time, and what the gate did."""
        workspace, calls, marks = self._workspace, self._calls.take(), self._workspace.gate_marks.take()
        if calls:
            workspace.records.log_calls(calls, time.time() - workspace.settings.job_ttl_s)
        if marks:
            workspace.records.curves.mark_gate(marks, MAX_MARKS)
            workspace.refresh()

    def live(self) -> None:
        """Show that this server works, and bury those that have ended."""
        self._workspace.presence.beat()
        self._workspace.reap()

    def forget(self) -> None:
        """Forget jobs that ended long ago, with their files, and outputs that nobody has decided on."""
        workspace = self._workspace
        workspace.withheld.expire()
        forgotten = workspace.records.purge_jobs(time.time() - workspace.settings.job_ttl_s)
        workspace.job_files.forget(forgotten)
