"""When a network grows while it is trained: the rule, and where a training stands in it. No torch in here.

Held-out data is looked at every so many steps. With L_i the loss of look i, a look is flat where

    mean over the last `window` looks of (L_{i−1} − L_i) / L_{i−1}  <  improve_threshold,

and `patience` flat looks in a row are a plateau: the network grows, in the order of the cycle. From that step on the rate is
base · 2^(−n/2), n growths so far, and rises from nothing in `warmup_steps`; for its first `frozen_steps` only what is new
learns. The first look after the warm-up judges: where the loss is higher than before the growth, the growth is taken back, and
the next kind in the cycle is tried. A whole cycle taken back ends it. In the last `last_share` of a run nothing grows any more.

What is said here is done by `transform.progressive`: training rests while `asks` says what.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Growth = Literal["layer", "width", "context"]
"""A block more, twice the width, or windows twice as long; see `transform.growth`."""
Asked = Literal["grow", "keep", "undo"]
CYCLE: tuple[Growth, ...] = ("layer", "width", "context")


class ProgressiveConfig(BaseModel):
    """When to grow, how gently, and how far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    improve_threshold: Annotated[float, Field(gt=0, lt=1, description="mean gain per look below which a look is flat")] = 0.01
    window: Annotated[int, Field(ge=1, le=100, description="looks whose gains are averaged")] = 2
    patience: Annotated[int, Field(ge=1, le=1000, description="flat looks in a row before it grows")] = 2
    cycle: Annotated[tuple[Growth, ...], Field(min_length=1, max_length=12, description="what grows, in turn")] = CYCLE
    max_parameters: Annotated[int | None, Field(ge=1, description="of the network, at most; null: what memory holds")] = None
    warmup_steps: Annotated[int, Field(ge=1, le=100_000, description="in which the rate rises after a growth")] = 100
    frozen_steps: Annotated[int, Field(ge=0, le=100_000, description="in which only new weights learn")] = 5
    last_share: Annotated[float, Field(ge=0, lt=1, description="of a run, its last, in which nothing grows")] = 0.3
    auto_collapse: Annotated[bool, Field(description="at the end, a smaller model is distilled from it")] = False
    quantize: Annotated[
        Literal["int8", "int4"] | None, Field(description="at the end, of the smaller model, or of a copy of the network")
    ] = None

    @property
    def ends_small(self) -> bool:
        """Whether a small model is made at the end, see `transform.afterwards`."""
        return self.auto_collapse or self.quantize is not None


class GrowthEvent(BaseModel):
    """`what` happened to the network at a `step` of it: it has then `num_parameters`. `loss`: held out, nats per byte.
    `growth`: of which kind; None where it ended.

    grown: it is on trial. kept: the loss after the warm-up is no higher than before. undone: it was, and the network is
    again what it was. ended: nothing grows any more, `reason` says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Literal["grown", "kept", "undone", "ended"]
    growth: Growth | None
    step: int
    num_parameters: int
    loss: float
    reason: str = ""

    @property
    def message(self) -> str:
        """One line for people."""
        kind, size, known = self.growth, f"{self.num_parameters:,} parameters", f"{self.loss:.4f} nats per byte held out"
        return {
            "grown": f"step {self.step}: grown by {kind} to {size}, on trial ({known})",
            "kept": f"step {self.step}: the growth by {kind} is kept, {size} ({known})",
            "undone": f"step {self.step}: the growth by {kind} was worse ({known}) and is undone, {size} again",
            "ended": f"step {self.step}: grows no more, {size}: {self.reason}",
        }[self.what]


class Growing(BaseModel):
    """Where a training with these `settings` stands. `turn`: place in the cycle of what grows next. `num_growths`: so far.
    `grown_at`: step of the run, of the last growth. `events`: all of them. `asks`: what is to be done to the network before the
    next step; `ended`: nothing any more. `flat_looks`: in a row.

    `loss_before`: what the growth on trial must keep; None where none is. `alone`: the parameters that are new.
    `failures`: growths taken back in a row. `losses`: of the looks since the last growth, as many as count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: ProgressiveConfig = ProgressiveConfig()
    losses: tuple[float, ...] = ()
    flat_looks: Annotated[int, Field(ge=0)] = 0
    turn: Annotated[int, Field(ge=0, lt=12)] = 0
    num_growths: Annotated[int, Field(ge=0, le=1000)] = 0
    grown_at: Annotated[int | None, Field(ge=0)] = None
    loss_before: float | None = None
    alone: tuple[str, ...] = ()
    failures: Annotated[int, Field(ge=0)] = 0
    asks: Asked | None = None
    ended: bool = False
    events: tuple[GrowthEvent, ...] = ()

    @model_validator(mode="after")
    def _knows_what_it_asks_of(self) -> Self:
        if self.asks and not self.losses:
            raise ValueError(f"asks={self.asks!r} without a look at held-out data that it could follow from")
        return self

    @property
    def order(self) -> tuple[Growth, ...]:
        """The cycle from where it stands."""
        cycle = self.settings.cycle
        return cycle[self.turn % len(cycle) :] + cycle[: self.turn % len(cycle)]

    def pace(self, step: int) -> dict[str, Any]:
        """How the step that is next in the run learns: `rate`, a factor, and `alone`, the parameters that do; () for all."""
        if self.grown_at is None:
            return {"rate": 1.0, "alone": ()}
        since = step - self.grown_at
        rate = 2 ** (-self.num_growths / 2) * min(1.0, (since + 1) / self.settings.warmup_steps)
        return {"rate": rate, "alone": self.alone if since < self.settings.frozen_steps else ()}

    def after_look(self, loss: float, step: int, *, may_grow: bool) -> Growing:
        """What follows from one more look, after so many steps of the run."""
        if self.loss_before is not None:
            over = self.grown_at is not None and step - self.grown_at >= self.settings.warmup_steps
            return self.judged(loss) if over else self
        losses = (*self.losses, loss)[-1 - self.settings.window :]
        flat = len(losses) > self.settings.window and mean_gain(losses) < self.settings.improve_threshold
        looks = self.flat_looks + 1 if flat else 0
        due = looks >= self.settings.patience and may_grow and not self.ended
        return self.model_copy(update={"losses": losses, "flat_looks": looks, "asks": "grow" if due else None})

    def judged(self, loss: float) -> Growing:
        """The growth on trial has led to this loss."""
        worse = self.loss_before is not None and loss > self.loss_before
        return self.model_copy(update={"losses": (loss,), "flat_looks": 0, "asks": "undo" if worse else "keep"})

    def grown(self, growth: Growth, step: int, alone: tuple[str, ...], event: GrowthEvent) -> Growing:
        """A growth was made after so many steps of the run, and is on trial."""
        place = (self.turn + self.order.index(growth) + 1) % len(self.settings.cycle)
        told: dict[str, Any] = {"turn": place, "num_growths": self.num_growths + 1, "grown_at": step, "alone": alone}
        told |= {"loss_before": self.losses[-1], "asks": None}
        return self.model_copy(update=told | {"events": (*self.events, event)})

    def kept(self, *events: GrowthEvent) -> Growing:
        """The growth on trial stays."""
        told = {"loss_before": None, "alone": (), "failures": 0, "asks": None}
        return self.model_copy(update=told | {"events": (*self.events, *events)})

    def undone(self, tried: Growing, event: GrowthEvent, *, may_grow: bool) -> Growing:
        """This state, before a growth, when that has been `tried` in vain."""
        told: dict[str, Any] = {"turn": tried.turn, "failures": self.failures + 1, "events": (*tried.events, event)}
        return self.model_copy(update=told | {"asks": "grow" if may_grow else None})

    def over(self, event: GrowthEvent) -> Growing:
        """Nothing grows any more."""
        return self.model_copy(update={"ended": True, "asks": None, "events": (*self.events, event)})


def mean_gain(losses: tuple[float, ...]) -> float:
    """Mean relative gain from look to look; what is known without any loss can gain nothing."""
    gains = [(before - after) / before if before > 0 else 0.0 for before, after in pairwise(losses)]
    return sum(gains) / len(gains)
