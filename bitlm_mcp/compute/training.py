"""One training on the compute side: its steps, what is told of them, and the states that are written on the way.

The model's own state file is written now and then, when the training is stopped and at its end. A training that looks at
held-out data and has somewhere to keep the best state writes that one at every look that finds a new best.

In a progressive training a growth replaces the engine. What is written never holds a growth on trial: it is saved before the
growth and after the judgement, and a stop in between leaves the model as it was before.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bitlm_core
from bitlm_core import BitLMError, CheckpointError, ConfigError
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.points import drifts_of, point_of
from bitlm_mcp.compute.tracing import span

if TYPE_CHECKING:
    from bitlm_core import EngineConfig, GrowthEvent, StepReport, TrainingPlan

MAX_SAVING_SHARE = 0.02
"""Of a training's time, at most this is spent on saving, however short the interval that was asked for."""
TRAINED = 0.7
"""Share of a job that is done when its training is over and a small model is to be made of it."""


class Training:
    """One training of one model: its pace, its record, its saves. `require_room`: as `bitlm_core.Progressive` has it."""

    def __init__(self, entry: Entry, command: commands.Train, require_room: Callable[[EngineConfig], None]) -> None:
        self._entry = entry
        self._command = command
        self._growth = bitlm_core.Progressive(entry.engine, require_room) if command.plan.growing else None
        self._num_bytes, self._busy_s, self._warned = 0, 0.0, False
        self._due = time.monotonic() + command.autosave_s
        self._told = self._standing(command.plan)

    def steps(self) -> Generator[Progress, None, None]:
        """Train to the end of the plan."""
        entry, command = self._entry, self._command
        if command.data.num_bytes < 2:
            raise ConfigError(f"{command.data.num_bytes} byte is too little to learn from: give at least 2 bytes")
        if entry.engine.config.training != command.training:
            entry.engine.set_training(command.training)
        entry.trained_by = command.job_id
        steps = self._reports()
        while True:
            started = time.perf_counter()
            with span("step", command.trace, step=entry.engine.step):
                report = next(steps, None)
            if report is None:
                yield from self._tell_the_end()
                return
            seconds = time.perf_counter() - started
            self._busy_s += seconds
            if isinstance(report, bitlm_core.GrowthEvent):
                yield from self._changed(report)
                continue
            yield self._tell(report, seconds)
            if command.best_to is not None and self._found_best(report):
                yield self._keeping_best(command.best_to)
            if not self._on_trial and (time.monotonic() >= self._due or self._grows_next):
                yield self.saving()

    def save(self) -> Saved:
        """Save the model as it is now, a growth on trial undone.

        Raises CheckpointError or ResourceLimitError; then it stays in memory, unsaved.
        """
        started = time.monotonic()
        if self._growth and self._growth.on_trial:
            self._growth.settle()
            self._entry.engine = self._growth.engine
            self._entry.history.cut(self._entry.engine.step)
        saved = write_state(self._entry, self._command.save_to, self._command.trace)
        took = time.monotonic() - started
        self._due = time.monotonic() + max(self._command.autosave_s, took / MAX_SAVING_SHARE)
        return saved

    def saving(self) -> Progress:
        """As `save`, told as progress; a disk that refuses is told too, and tried again later."""
        try:
            return self.saved()
        except BitLMError as error:
            self._due = time.monotonic() + self._command.autosave_s
            return self._quiet(alerts=(f"not saved: {error.message}",))

    def saved(self) -> Progress:
        """As `save`, told as progress."""
        return self._quiet(saved=self.save())

    def standing(self, share: float, message: str) -> Progress:
        """What was told last, of something that follows the training."""
        return self._quiet(share=share, message=message)

    def _quiet(self, **told: Any) -> Progress:
        """What was told last, without what was new then."""
        return self._told.model_copy(update={"point": None, "alerts": (), "marks": ()} | told)

    def _reports(self) -> Generator[StepReport | GrowthEvent, None, None]:
        """What the training tells; the engine of the entry is the one that has learned."""
        entry, command = self._entry, self._command
        data, held = command.data.open(), command.held_out.open() if command.held_out else None
        if self._growth is None or held is None:
            yield from entry.engine.train_steps(data, command.plan, held)
            return
        for report in self._growth.steps(data, command.plan, held):
            entry.engine = self._growth.engine
            yield report

    @property
    def _on_trial(self) -> bool:
        return self._growth is not None and self._growth.on_trial

    @property
    def _grows_next(self) -> bool:
        plan = self._entry.engine.plan
        return plan is not None and plan.growing is not None and plan.growing.asks == "grow"

    def _changed(self, event: GrowthEvent) -> Generator[Progress, None, None]:
        """The network was changed: told as an alert, and saved unless it is on trial."""
        self._entry.history.cut(event.step)
        self._entry.history.warn((event.message,))
        self._entry.unsaved = True
        plan = self._entry.engine.plan or self._command.plan
        told = {"message": event.message, "alerts": (event.message,)}
        self._told = self._standing(plan).model_copy(update=told)
        yield self._told
        if not self._on_trial:
            yield self.saving()

    def _found_best(self, report: StepReport) -> bool:
        plan = self._entry.engine.plan
        return plan is not None and report.held_out_loss is not None and plan.looks_since_best == 0

    def _keeping_best(self, folder: Path) -> Progress:
        """Write the state that held-out data has never been known better by; as `saving`, told as progress."""
        try:
            saved = write_state(self._entry, folder, self._command.trace)
        except BitLMError as error:
            return self._quiet(alerts=(f"the best state was not saved: {error.message}",))
        finally:
            self._entry.unsaved = True  # in its own state file
        return self._quiet(best=saved)

    def _standing(self, plan: TrainingPlan) -> Progress:
        return Progress(
            share=plan.progress * (1.0 if self._command.small_to is None else TRAINED),
            steps_done=plan.steps_done,
            steps_total=plan.steps,
            stopped_early=plan.stopped_early,
            all_read=plan.all_read,
            drifted=plan.drifted,
            bytes_per_second=self._num_bytes / self._busy_s if self._busy_s else None,
            growths=tuple(event.message for event in plan.growing.events) if plan.growing else (),
        )

    def _tell_the_end(self) -> Generator[Progress, None, None]:
        """A plan that was over before its first step has told nothing yet."""
        plan = self._entry.engine.plan
        if plan is not None and plan.all_read and not self._told.all_read:
            self._told = self._standing(plan)
            yield self._told

    def _tell(self, report: StepReport, seconds: float) -> Progress:
        self._num_bytes += report.num_bytes
        point, marks = point_of(report, seconds), drifts_of(report)
        alerts = tuple(mark.text for mark in marks)
        if report.feed is not None and report.feed.warning is not None and not self._warned:
            alerts, self._warned = (*alerts, report.feed.warning), True
        self._entry.history.add(point)
        self._entry.history.warn(alerts)
        self._entry.history.mark(marks)
        self._entry.unsaved = True
        plan = self._entry.engine.plan or self._command.plan
        message = f"step {report.step}, {report.bits_per_byte:.3f} bits per byte"
        told = {"message": message, "point": point, "alerts": alerts, "marks": marks}
        self._told = self._standing(plan).model_copy(update=told)
        return self._told


def write_state(entry: Entry, folder: Path, trace: Mapping[str, str]) -> Saved:
    """Save a model under a scratch name in a folder."""
    path = folder / f".saving-{secrets.token_hex(8)}"
    try:
        with span("save", trace, step=entry.engine.step):
            tensors, header = entry.engine.state()
            header |= {**entry.history.plain(), "trained_by": entry.trained_by}
            bitlm_core.write_file(path, tensors, header)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"the state of the model could not be written ({error.strerror or error}); the one before is unchanged: free "
            "some space or check the state directory",
            name=folder.name,
        ) from error
    if entry.unsaved:
        entry.unsaved, entry.read_from = False, None
    return Saved(path=path, facts=entry.facts)
