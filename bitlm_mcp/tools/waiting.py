"""Waiting for a job inside a tool call: bounded, with progress told at once, on change, and as a heartbeat.

A call that is cancelled while it waits for work that it started itself cancels that work; a mere observer does not.
"""

from __future__ import annotations

import time
from typing import Any

import anyio
from mcp.server.mcpserver import Context

from bitlm_core import BitLMError
from bitlm_mcp.jobs import Job, Progress, describe

HEARTBEAT_S = 5.0
MIN_INTERVAL_S = 0.25


class _Teller:
    """Sends progress that strictly increases, at most four times a second."""

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context
        self._sent = -1.0
        self._at = 0.0

    async def tell(self, progress: Progress) -> None:
        """Report, unless the last report is too recent."""
        now = time.monotonic()
        if now - self._at < MIN_INTERVAL_S:
            return
        # A heartbeat without news still has to grow; what it adds is too small to see.
        value = max(progress.share, self._sent + 1e-9)
        self._sent, self._at = value, now
        await self._context.report_progress(value, 1.0, progress.message or None)


async def wait_for(job: Job, seconds: float, context: Context[Any, Any], *, owner: bool) -> bool:
    """Wait for a job, telling progress; True when it is over. `owner`: cancelling this call cancels the job."""
    teller = _Teller(context)
    deadline = time.monotonic() + seconds
    try:
        await teller.tell(job.progress)
        while not job.over and (left := deadline - time.monotonic()) > 0:
            if not await job.wait(min(left, HEARTBEAT_S), teller.tell):
                await teller.tell(job.progress)
    except anyio.get_cancelled_exc_class():
        if owner:
            job.cancel()
        raise
    return job.over


def finished_result(job: Job) -> Any:
    """The result of a completed job; raises its error, or BitLMError when it was cancelled."""
    if job.error is not None:
        if isinstance(job.error, BitLMError):
            raise job.error
        raise BitLMError(describe(job.error))
    if job.status == "cancelled":
        raise BitLMError(f"{job.kind} {job.job_id} was cancelled; the model is as it was: call again if it is wanted")
    return job.result


async def answer(job: Job, seconds: float, context: Context[Any, Any]) -> Any:
    """The result of short work, waited for; a job that outlasts `seconds` is cancelled with an error that says so."""
    if not await wait_for(job, seconds, context, owner=True):
        job.cancel()
        raise BitLMError(
            f"{job.kind} was stopped after {seconds:g} s at {job.progress.share:.0%}: ask for less, "
            "or wait until other work has ended (list_jobs)"
        )
    return finished_result(job)
