"""What is told of a command: progress on the way, and an answer in the last event."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

import bitlm_core
from bitlm_core import BitLMError, TrainingPlan
from bitlm_mcp.compute.answers import Answer
from bitlm_mcp.compute.messages import Message, Saved
from bitlm_mcp.snapshot import HistoryPoint, Mark

PREVIEWED_BYTES = 4096
"""Of a template that is being filled, its first ones are shown meanwhile."""


class Preview(Message):
    """The beginning of a template as it stands, and which bits of each byte are known; see `bitlm_core.FillingState`."""

    data: bytes
    known: bytes


def preview_of(state: object) -> Preview | None:
    """What there is to show of a filling between two passes; None of anything else."""
    if not isinstance(state, bitlm_core.FillingState):
        return None
    return Preview(data=state.data[:PREVIEWED_BYTES], known=state.known[:PREVIEWED_BYTES])


class Progress(Message):
    """Where a command stands at a safe point. `share` 0 … 1; the rest where it means something, as of that point.

    `stopped_early`, `all_read`, `drifted`: see `TrainingPlan`. `growths`: what has happened to a network that grows.
    `best`: a state by which held-out data is known best so far. `preview`: of a template that is being filled.
    """

    event: Literal["progress"] = "progress"
    share: float
    steps_done: int = 0
    steps_total: int | None = None
    stopped_early: bool = False
    all_read: bool = False
    drifted: bool = False
    bytes_per_second: float | None = None
    growths: tuple[str, ...] = ()
    message: str = ""
    point: HistoryPoint | None = None
    alerts: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    saved: Saved | None = None
    best: Saved | None = None
    preview: Preview | None = None


def standing(plan: TrainingPlan, **told: Any) -> Progress:
    """Where a training stands that has done nothing yet of what is left of its plan."""
    return Progress(share=plan.progress, steps_done=plan.steps_done, steps_total=plan.steps, **told)


class Failure(Message):
    """An error that crosses: its class, and a text for the caller. `model_lost`: see `stopping.ModelLostError`."""

    kind: str
    message: str
    model_lost: bool = False

    def error(self) -> BitLMError:
        """The error to raise on the other side."""
        known = getattr(bitlm_core, self.kind, None)
        return known(self.message) if isinstance(known, type) and issubclass(known, BitLMError) else BitLMError(self.message)


class Ended(Message):
    """The last event of a command."""

    event: Literal["ended"] = "ended"
    status: Literal["completed", "failed", "cancelled"]
    answer: Answer | None = None
    failure: Failure | None = None


Event = Annotated[Progress | Ended, Field(discriminator="event")]
