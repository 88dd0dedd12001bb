"""One model of the workspace: its engine, the record of its training, and the jobs that train it."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bitlm_core import ByteData, TrainingConfig, TrainingPlan, estimate_engine_bytes
from bitlm_mcp.jobs import Job, Progress
from bitlm_mcp.snapshot import HistoryPoint, ModelView

if TYPE_CHECKING:  # these bring torch, which only the worker may load
    from bitlm_core import Engine, StepReport

MAX_HISTORY = 4096
MAX_ALERTS = 20


@dataclass
class ModelEntry:
    """Written by the compute worker; `training` lists the jobs that have not ended, by whoever submits one."""

    engine: Engine
    history: tuple[HistoryPoint, ...] = ()
    latest: HistoryPoint | None = None
    alerts: tuple[str, ...] = ()
    training: list[Job] = field(default_factory=list)
    thinning: int = 1
    """Every how many steps one is kept; doubles when the record is full, so that it stays even. The latest is always there."""

    @property
    def running(self) -> Job | None:
        """The training that is running or queued first."""
        return next((job for job in self.training if not job.ended), None)

    def train_steps(self, data: ByteData, plan: TrainingPlan, training: TrainingConfig) -> Generator[Progress, None, None]:
        """Train as a job does: record each step and tell where it stands."""
        engine = self.engine
        engine.set_training(training)
        num_bytes, busy_s, mixed = 0, 0.0, None
        steps = engine.train_steps(data, plan)
        while True:
            started = time.perf_counter()
            try:
                report = next(steps)
            except StopIteration:
                return
            busy_s += time.perf_counter() - started
            num_bytes += report.num_bytes
            mixed = mixed if report.bits_per_byte_mixed is None else report.bits_per_byte_mixed
            self.record(report)
            now = engine.plan or plan
            yield Progress(
                now.progress,
                steps_done=now.steps_done,
                steps_total=now.steps,
                bytes_per_second=num_bytes / busy_s,
                message=f"step {report.step}, {report.bits_per_byte:.3f} bits per byte",
                step=report.step,
                loss=report.loss,
                bits_per_byte=report.bits_per_byte,
                bits_per_byte_mixed=mixed,
            )

    def record(self, report: StepReport) -> None:
        """Add one step to the record."""
        self.alerts = (*self.alerts, *(alert.message for alert in report.alerts))[-MAX_ALERTS:]
        measured = asdict(report.telemetry) if report.telemetry else {"k": None, "c": None, "s": None}
        names = ("step", "loss", "bits_per_byte", "bits_per_byte_mixed", "grad_norm", "learning_rate")
        self.latest = HistoryPoint(**{name: getattr(report, name) for name in names}, **measured)
        if report.step % self.thinning == 0:
            self.history = (*self.history, self.latest)
        if len(self.history) > MAX_HISTORY:
            self.thinning *= 2
            self.history = tuple(point for point in self.history if point.step % self.thinning == 0)

    def view(self, model_id: str) -> ModelView:
        """The model as everyone sees it."""
        engine, running = self.engine, self.running
        return ModelView(
            model_id=model_id,
            state="idle" if running is None else "training" if running.status == "running" else "queued",
            step=engine.step,
            architecture=engine.config.model.architecture,
            num_parameters=engine.num_parameters,
            memory_estimate_bytes=estimate_engine_bytes(engine.config),
            diffusion_steps=engine.diffusion_steps,
            max_bytes=engine.config.model.max_bytes,
            config=engine.config.model_dump(mode="json"),
            job_id=running.job_id if running else None,
            history=self._complete_history(),
            alerts=self.alerts,
        )

    def _complete_history(self) -> tuple[HistoryPoint, ...]:
        if self.latest is None or self.latest in self.history[-1:]:
            return self.history
        return (*self.history, self.latest)
