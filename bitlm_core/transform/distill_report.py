"""What a distillation tells, on its way and at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bitlm_core.learning import StepReport

UNIFORM = 8.0
"""Bits per byte of a model that knows nothing: gains are counted from there."""


@dataclass(frozen=True)
class DistillProgress:
    """share: done, 0 … 1, were all rounds needed; round: from 1; step: of the student, after a training step."""

    share: float
    round: int
    step: StepReport | None = None


@dataclass(frozen=True)
class DistillRound:
    """One student on held-out data, its network alone.

    kl: nats per byte of KL(teacher ‖ student), see `training.teaching`; None where context mixing teaches. gain_kept: see
    `distillation`. below: metrics under their floors. seconds: of its training. Parameters with tables of n-grams, and without.
    """

    num_layers: int
    d_model: int
    num_parameters: int
    parameters_outside_tables: int
    steps: int
    seconds: float
    training_loss: float
    bits_per_byte: float
    kl: float | None
    gain_kept: float
    k: float
    c: float
    s: float
    transition_rate: float
    below: tuple[str, ...]


@dataclass(frozen=True)
class DistillReport:
    """All students, of which `best` (from 0) is kept. reached: whether it keeps `min_gain` and passes all floors.

    `ended`: why no further student was tried. num_medoids: windows that were shown first. seconds: of all of it.
    """

    teacher_bits_per_byte: float
    teacher_parameters: int
    teacher_outside_tables: int
    num_medoids: int
    rounds: tuple[DistillRound, ...]
    best: int
    reached: bool
    ended: str
    seconds: float

    @property
    def kept(self) -> DistillRound:
        """The student that is kept."""
        return self.rounds[self.best]

    def plain(self) -> dict[str, Any]:
        """As JSON values: what `metrics.json` holds."""
        return asdict(self) | {"rounds": [asdict(one) | {"below": list(one.below)} for one in self.rounds]}
