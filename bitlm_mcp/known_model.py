"""One model as one process knows it: its saved state, and how far the training of it has come since, here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bitlm_core import ConfigError, ModelConfig, count_parameters, estimate_engine_bytes, flops_per_byte
from bitlm_mcp.compute.messages import ModelFacts
from bitlm_mcp.history import History
from bitlm_mcp.jobs import Job
from bitlm_mcp.snapshot import HistoryPoint, Mark, ModelView


class Holder(NamedTuple):
    """Another process that writes a model, and the job in which it does, if that has an id."""

    name: str
    job_id: str | None


@dataclass(eq=False)
class Model:
    """`step` and `history` run ahead of the saved state while the model is trained; `facts` and `sha256` are of that state."""

    model_id: str
    incarnation: int
    facts: ModelFacts
    sha256: str
    history: History
    step: int
    recorded_step: int
    """The last step whose point is in the database."""
    unsaved: bool = False
    """Memory knows more than the saved state."""
    followed: bool = False
    """`history` and `step` have what another process told of its training."""

    @classmethod
    def saved(cls, model_id: str, incarnation: int, facts: ModelFacts, sha256: str, history: History) -> Model:
        """A model as its saved state has it."""
        return cls(model_id, incarnation, facts, sha256, history, step=facts.step, recorded_step=facts.step)

    def follow(self, points: Sequence[HistoryPoint], alerts: Iterable[str], drift: Iterable[Mark]) -> None:
        """Take note of what another process tells of its training: points that follow what is known, all alerts and marks."""
        for point in points:
            self.history.add(point)
        self.history.alerts, self.history.marks = tuple(alerts), tuple(drift)
        reached = self.history.points[-1].step if self.history.points else 0
        self.step, self.followed = max(self.facts.step, reached), True

    def view(self, writer: Job | None, holder: Holder | None) -> ModelView:
        """The model as everyone sees it: with the job of this process that writes it, or the other process that does."""
        config = self.facts.config
        state = "idle" if writer is None else "training" if writer.status == "running" else "queued"
        return ModelView(
            model_id=self.model_id,
            state="training elsewhere" if holder else state,
            step=self.step,
            architecture=config.model.architecture,
            num_parameters=count_parameters(config.model),
            flops_per_byte=_flops(config.model),
            memory_estimate_bytes=estimate_engine_bytes(config),
            diffusion_steps=self.facts.diffusion_steps,
            max_bytes=config.model.max_bytes,
            config=config.model_dump(mode="json"),
            job_id=holder.job_id if holder else writer.job_id if writer else None,
            history=self.history.points,
            alerts=self.history.alerts,
            holder=holder.name if holder else None,
            quantized=config.model.quantized,
            marks=self.history.marks,
            measured=self.history.measured,
        )


def _flops(config: ModelConfig) -> float | None:
    """None where the data decides how long patches are."""
    try:
        return flops_per_byte(config)
    except ConfigError:
        return None
