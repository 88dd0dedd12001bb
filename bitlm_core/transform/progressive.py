"""Training a network that grows on the way: does what the plan's rule asks for, see `training.growing`.

    train_steps ─→ a plateau ─→ grow, the engine of before kept ─→ warm-up ─→ a look ─→ keep it, or back to the one before

What may be saved at any moment is `settled`: a growth on trial is not in it, so whoever goes on from there grows again, exactly
as it was. Memory holds two engines while a growth is on trial.

Old weights rest for the first steps after a growth only where there are new ones: beside a new layer. A doubled width consists
of copies of old weights, and a longer window of nothing new at all: there everything learns from the start, slowly at first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError, ResourceLimitError
from bitlm_core.learning import StepReport, validation_loss
from bitlm_core.models.config import count_parameters
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData
from bitlm_core.training.growing import Growing, Growth, GrowthEvent
from bitlm_core.transform.cycle import grown_config
from bitlm_core.transform.growth import grow

Steps = Generator[StepReport | GrowthEvent, None, None]


def _no_limit(_: EngineConfig) -> None:
    """Whatever grows, there is room for it."""


class Progressive:
    """A training in which the engine is replaced: `engine` is the one that has learned last.

    `require_room`: raises ResourceLimitError for an engine that is too large to be made.
    """

    def __init__(self, engine: Engine, require_room: Callable[[EngineConfig], None] = _no_limit) -> None:
        self.engine = engine
        self._before: Engine | None = None
        """While a growth is on trial: the engine without it."""
        self._require_room = require_room

    @property
    def on_trial(self) -> bool:
        """Whether the latest growth may still be undone."""
        return self._before is not None

    @property
    def settled(self) -> Engine:
        """The engine without a growth on trial."""
        return self._before or self.engine

    def settle(self) -> None:
        """Go back to where no growth is on trial, for a training that is stopped."""
        self.engine, self._before = self.settled, None

    def steps(self, data: ByteData, plan: TrainingPlan, held: ByteData) -> Steps:
        """Train and grow until the plan is finished: a report of each step, and an event for each change of the network.

        Raises ConfigError for a plan without a rule, and as `Engine.train_steps`.
        """
        if plan.growing is None:
            raise ConfigError("growing=None: the plan has no rule by which a network grows: give one, or use train_steps")
        if plan.growing.loss_before is not None and not self.on_trial:  # of a state that was saved in the middle of a trial
            plan = plan.model_copy(update={"growing": plan.growing.kept()})
        while True:
            yield from self.engine.train_steps(data, plan, held)
            plan = self._plan
            if plan.finished and self.on_trial and self._growing.asks is None:
                loss = validation_loss(self.engine.trainer, self.engine.mixer, held, plan)
                self._follow(self._growing.judged(loss))
            if self._growing.asks is None or (plan.finished and not self.on_trial):
                return
            yield self._done()
            plan = self._plan

    @property
    def _plan(self) -> TrainingPlan:
        plan = self.engine.plan
        assert plan is not None  # noqa: S101 - every training has one
        return plan

    @property
    def _growing(self) -> Growing:
        growing = self._plan.growing
        assert growing is not None  # noqa: S101 - looked at before the first step
        return growing

    def _follow(self, growing: Growing) -> None:
        self.engine.plan = self._plan.model_copy(update={"growing": growing})

    def _done(self) -> GrowthEvent:
        """Do what is asked for."""
        asked = self._growing.asks
        return self._grow() if asked == "grow" else self._undo() if asked == "undo" else self._keep()

    def _grow(self) -> GrowthEvent:
        growing, plan, before = self._growing, self._plan, self.engine
        growth, reason = self._next(growing)
        if growth is None:
            event = self._event("ended", None, growing.losses[-1], reason)
            self._follow(growing.over(event))
            return event
        self.engine, self._before = grow(before, growth, seed=plan.steps_done), before
        event = self._event("grown", growth, growing.losses[-1])
        alone = _new_parameters(before, self.engine)
        self.engine.plan = plan.model_copy(update={"growing": growing.grown(growth, plan.steps_done, alone, event)})
        return event

    def _keep(self) -> GrowthEvent:
        growing, self._before = self._growing, None
        event = self._event("kept", growing.events[-1].growth, growing.losses[-1])
        self._follow(growing.kept(event))
        return event

    def _undo(self) -> GrowthEvent:
        """The engine of before, in a run that has come as far as it has come meanwhile."""
        tried, run = self._growing, self._plan
        self.settle()
        spent = {"steps_done": run.steps_done, "seconds_done": run.seconds_done}
        self.engine.plan = self._plan.model_copy(update=spent)
        event = self._event("undone", tried.events[-1].growth, tried.losses[-1])
        self._follow(self._growing.undone(tried, event, may_grow=self._plan.may_grow))
        return event

    def _next(self, growing: Growing) -> tuple[Growth | None, str]:
        """What grows next, the first in turn that there is room for; None where nothing does any more, and why.

        A longer window adds no parameters: where it alone is left of a cycle that would add some, that is the end.
        """
        cycle = growing.settings.cycle
        if growing.failures >= len(cycle):
            return None, "a whole cycle of growths was worse"
        reasons: dict[Growth, str] = {}
        for growth in dict.fromkeys(growing.order):
            if reason := self._against(growth, growing.settings.max_parameters):
                reasons[growth] = reason
        fits = [growth for growth in growing.order if growth not in reasons]
        if not fits or (set(fits) == {"context"} != set(cycle)):
            return None, next(iter(reasons.values()))
        return fits[0], ""

    def _against(self, growth: Growth, max_parameters: int | None) -> str:
        """Why the engine cannot grow so; empty where it can."""
        try:
            config = grown_config(self.engine.config, growth)
            size = count_parameters(config.model)
            if max_parameters is not None and size > max_parameters:
                return f"{size:,} parameters would be more than max_parameters={max_parameters:,}"
            self._require_room(config)
        except (ConfigError, ResourceLimitError) as error:
            return error.message
        return ""

    def _event(self, what: Any, growth: Growth | None, loss: float, reason: str = "") -> GrowthEvent:
        size = self.engine.num_parameters
        return GrowthEvent(what=what, growth=growth, step=self.engine.step, num_parameters=size, loss=loss, reason=reason)


def _new_parameters(before: Engine, after: Engine) -> tuple[str, ...]:
    """Names of what only the grown network has."""
    old, new = (dict(engine.model.named_parameters()) if engine.model else {} for engine in (before, after))
    return tuple(sorted(new.keys() - old.keys()))
