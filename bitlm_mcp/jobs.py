"""One piece of work of this process: a command on the compute side, how far it is, and what comes of it."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from bitlm_core import BitLMError
from bitlm_mcp.compute.answers import Answer
from bitlm_mcp.compute.commands import Command, Train
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.hub_messages import Transfer
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.snapshot import FED, FINAL, HistoryPoint, JobView, Status


def new_job_id() -> str:
    """An id that nobody can guess."""
    return f"job-{secrets.token_urlsafe(12)}"


def _measured(point: HistoryPoint, names: Iterable[str]) -> dict[str, float]:
    values = {name: getattr(point, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _nothing(*_: Any) -> None:
    """What a job without consequences does."""


@dataclass(eq=False)
class Job:
    """Written by the workspace alone; everybody may read it.

    recorded: its id was told to a client, so it is in the database. writes: it changes its model, whose lease it has.
    note: what whoever asked for it is to know.
    on_saved: takes over a state that was saved on the way; on_best, one that is the best so far. follow: what of the job an
    answer leaves to be done yet, as the next command. on_completed: takes over the last answer, and returns the result that
    everybody may see. All these may raise BitLMError, which fails the job, but for on_best. on_ending: gives back what others
    may want as soon as they see the end. on_over: tidies up.
    """

    kind: str
    model_id: str
    urgency: Urgency
    command: Command | Transfer
    job_id: str = field(default_factory=new_job_id)
    recorded: bool = False
    writes: bool = False
    note: str | None = None
    on_saved: Callable[[Saved], None] = _nothing
    on_best: Callable[[Saved], None] = _nothing
    follow: Callable[[Any], Command | None] = _nothing
    on_completed: Callable[[Any], dict[str, Any] | None] = _nothing
    on_ending: Callable[[], None] = _nothing
    on_over: Callable[[], None] = _nothing
    status: Status = "queued"
    progress: Progress = field(default_factory=lambda: Progress(share=0.0))
    point: HistoryPoint | None = None
    measured: dict[str, float] = field(default_factory=dict)
    """By name, the last of what not every step measures."""
    feed: dict[str, float] = field(default_factory=dict)
    """The same of how windows were shown; `codec_fallbacks` of all steps together."""
    saved_step: int | None = None
    answer: Answer | None = None
    result: dict[str, Any] | None = None
    error: BitLMError | None = None
    created: float = field(default_factory=time.time)
    finished: float | None = None
    over: bool = False
    _began: tuple[float, float] | None = None

    @property
    def resumable(self) -> bool:
        """Whether it can go on later where it was stopped."""
        return isinstance(self.command, Train)

    @property
    def ended(self) -> bool:
        """Whether the status is final; `over` follows when everybody can see what came of it."""
        return self.status in FINAL

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the speed so far, None before it can be told."""
        if self.ended or self._began is None or self.progress.share <= self._began[1]:
            return None
        gained = self.progress.share - self._began[1]
        return (time.monotonic() - self._began[0]) * (1 - self.progress.share) / gained

    def advance(self, progress: Progress) -> None:
        """Take note of a safe point."""
        self.status = "running"
        self.progress = progress
        if self._began is None:
            self._began = (time.monotonic(), progress.share)
        if progress.point is not None:
            self.point = progress.point
            self.measured |= _measured(progress.point, ("bits_per_byte_mixed", "bits_per_byte_held_out"))
            failed = self.feed.get("codec_fallbacks", 0) + (progress.point.codec_fallbacks or 0)
            self.feed |= _measured(progress.point, FED)
            if self.feed:
                self.feed["codec_fallbacks"] = failed

    def tell(self, growth: str) -> None:
        """Take note of something that was made of the network at the end."""
        self.progress = self.progress.model_copy(update={"growths": (*self.progress.growths, growth)})

    def view_at_end(self, status: Status, error: BitLMError | None) -> JobView:
        """How the job will look when it has ended like this."""
        share = 1.0 if status == "completed" else self.progress.share
        text = error.message if error else None
        return replace(self.view(), status=status, error=text, progress=share, finished=time.time(), eta_s=None, preview=None)

    def end(self, view: JobView, error: BitLMError | None) -> None:
        """Take note of the end, as `view_at_end` described it."""
        self.error, self.finished = error, view.finished
        self.progress = self.progress.model_copy(update={"share": view.progress})
        self.status = view.status

    def view(self) -> JobView:
        """The job as everyone sees it."""
        point = self.point
        return JobView(
            job_id=self.job_id,
            kind=self.kind,
            model_id=self.model_id,
            status=self.status,
            progress=self.progress.share,
            steps_done=self.progress.steps_done,
            steps_total=self.progress.steps_total,
            bytes_per_second=self.progress.bytes_per_second,
            eta_s=self.eta_s,
            created=self.created,
            finished=self.finished,
            error=self.error.message if self.error else None,
            step=point.step if point else None,
            loss=point.loss if point else None,
            bits_per_byte=point.bits_per_byte if point else None,
            **self.measured,
            stopped_early=self.progress.stopped_early,
            all_read=self.progress.all_read,
            drifted=self.progress.drifted,
            feed=self.feed or None,
            growths=self.progress.growths,
            saved_step=self.saved_step,
            result=self.result,
            preview=self._preview(),
        )

    def _preview(self) -> dict[str, str] | None:
        shown = self.progress.preview
        if shown is None or self.ended:
            return None
        return {f"{name}_base64": base64.b64encode(getattr(shown, name)).decode() for name in ("data", "known")}
