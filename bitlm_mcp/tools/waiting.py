"""Waiting for a job inside a tool call: bounded, with progress told at once, on change, and as a heartbeat.

A call that is cancelled while it waits for work that it started itself cancels that work; a mere observer does not, nor does
a server that goes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from mcp.server.mcpserver import Context

from bitlm_core import BitLMError
from bitlm_mcp.jobs import Job
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.workspace import Workspace

HEARTBEAT_S = 5.0
STOP_WAIT_S = 10.0
"""What a job that was stopped gets to reach its next safe point, and to save."""

MIN_INTERVAL_S = 0.25

in_task: ContextVar[Callable[[str], None] | None] = ContextVar("in_task", default=None)
"""Set where a call runs as a task: takes the id of the recorded job that the call has made."""

P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(operation: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Run an operation that may wait for the disk without keeping the event loop waiting."""
    return await anyio.to_thread.run_sync(partial(operation, *arguments, **keywords))


class _Teller:
    """Sends progress that strictly increases, at most four times a second."""

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context
        self._sent = -1.0
        self._at = 0.0

    async def tell(self, view: JobView) -> None:
        """Report, unless the last report is too recent."""
        now = time.monotonic()
        if now - self._at < MIN_INTERVAL_S:
            return
        # A heartbeat without news still has to grow; what it adds is too small to see.
        value = max(view.progress, self._sent + 1e-9)
        self._sent, self._at = value, now
        bits = view.bits_per_byte
        await self._context.report_progress(value, 1.0, None if bits is None else f"step {view.step}, {bits:.3f} bits per byte")


async def wait_for(
    workspace: Workspace, job_id: str, seconds: float, context: Context[Any, Any], *, owner: bool, elsewhere: bool = True
) -> JobView:
    """Wait for a job, telling progress; how it stands then. `owner`: cancelling this call cancels the job. `elsewhere`: other
    servers know the job too, so this ends when this server is about to go.

    Inside a task, where no request waits, it lasts until the job is over.
    """
    announce = in_task.get()
    if announce is not None:
        seconds, elsewhere = math.inf, False
        job = workspace.runner.job(job_id)
        if owner and (job is None or job.recorded):  # None: of another server, known by its record
            announce(job_id)
    teller = _Teller(context)
    deadline = time.monotonic() + seconds
    with workspace.changes.watch() as watch:
        try:
            view = await off_loop(workspace.job, job_id)
            await teller.tell(view)
            while not view.over and (left := deadline - time.monotonic()) > 0 and not (elsewhere and workspace.leaving):
                await watch.next(min(left, HEARTBEAT_S))
                view = workspace.job(job_id)
                await teller.tell(view)
        except anyio.get_cancelled_exc_class():
            if owner and not workspace.leaving:  # else its work is saved here, or goes on at another server
                with anyio.CancelScope(shield=True):
                    await off_loop(cancel, workspace, job_id)
            raise
    return view


async def answer(workspace: Workspace, job: Job, context: Context[Any, Any]) -> Any:
    """What came of short work, waited for; a job that outlasts the longest wait is cancelled with an error that says so."""
    seconds = workspace.settings.max_wait_s
    view = await wait_for(workspace, job.job_id, seconds, context, owner=True, elsewhere=False)
    if not view.over:
        cancel(workspace, job.job_id)
        # It may be past its last safe point: then it ends as asked, and must not be called refused.
        view = await wait_for(workspace, job.job_id, STOP_WAIT_S, context, owner=False, elsewhere=False)
        if view.status != "completed":
            raise BitLMError(
                f"{job.kind} was stopped after {seconds:g} s at {view.progress:.0%}: ask for less, "
                "or wait until other work has ended (list_jobs)"
            )
    raise_failure(view)
    return job.answer


async def finished(workspace: Workspace, job_id: str, wait_s: float, context: Context[Any, Any]) -> JobView:
    """How a long job stands after a while; raises what ended it, if that was no success."""
    view = await wait_for(workspace, job_id, min(wait_s, workspace.settings.max_wait_s), context, owner=True)
    raise_failure(view)
    return view


def raise_failure(view: JobView) -> None:
    """Raise what ended a job, unless it was completed."""
    if view.status == "cancelled":
        raise BitLMError(f"{view.kind} {view.job_id} was cancelled; the model is as it was: call again if it is wanted")
    if view.error is not None:
        raise BitLMError(view.error)
