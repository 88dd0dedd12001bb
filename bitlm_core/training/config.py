"""How a network is trained: one frozen class, and the plan of one training run. No torch in here."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from bitlm_core.diffusion.schedule import Masking, MaskUnit, least_hidden
from bitlm_core.training.growing import Growing

Objective = Literal["causal", "diffusion", "mixed"]
"""mixed: every second window of a batch causally, the others by diffusion."""
MAX_WINDOWS = 4096
"""Of a step."""
FRESH_PASSES, MANY_PASSES, MANY_DROPOUT = 1.5, 3.0, 0.15
DROPOUT_PER_DOUBLING, MOST_DROPOUT = 0.1, 0.5


class TrainingConfig(BaseModel):
    """Settings of the optimizer and of batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[int, Field(ge=1, le=MAX_WINDOWS, description="windows per optimizer step")] = 8
    batch_bytes: Annotated[
        int | None,
        Field(ge=2, le=1 << 26, description="bytes per step, about: batch_size follows from the windows; null: given"),
    ] = None
    accumulation: Annotated[int, Field(ge=1, le=256, description="parts a batch is computed in, to save memory")] = 1
    window_bytes: Annotated[int | None, Field(ge=2, le=131_072, description="bytes per window; null: the model's window")] = (
        None
    )
    optimizer: Annotated[Literal["muon", "adamw"], Field(description="of the blocks' matrices; AdamW does the rest")] = "muon"
    learning_rate: Annotated[float, Field(gt=0, le=1, description="peak of the schedule")] = 3e-3
    final_learning_rate: Annotated[float, Field(ge=0, le=1, description="end of the decay, as a share of the peak")] = 0.0
    decay_share: Annotated[float, Field(gt=0, le=1, description="part of a run, its last, in which the rate falls")] = 0.7
    warmup_steps: Annotated[int, Field(ge=0, le=100_000, description="linear warm-up of a new model")] = 20
    weight_decay: Annotated[float, Field(ge=0, le=10, description="decoupled, on matrices only")] = 0.0
    beta2: Annotated[float, Field(gt=0, lt=1, description="decay of the squared-gradient average")] = 0.95
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6, description="gradients are scaled down to this norm")] = 1.0
    use_autocast: Annotated[bool, Field(description="sub-blocks compute in bf16 in training; streams and loss in fp32")] = True
    compile: Annotated[bool, Field(description="torch.compile the sub-blocks: needs a C++ compiler, slow to start")] = False
    ponder_cost: Annotated[float, Field(ge=0, le=10, description="nats per layer of halting models: more is faster")] = 0.01
    telemetry_every: Annotated[
        int | None, Field(ge=1, le=100_000, description="steps between K, C, S measurements; null: as telemetry has it")
    ] = None
    compress_prob: Annotated[
        float, Field(ge=0, le=1, description="of windows that are run-length coded and decoded first, at the end of a run")
    ] = 0.0
    direct_prob: Annotated[float, Field(ge=0, le=1, description="of windows shown as their run-length streams")] = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch_bytes is not None and "batch_size" in self.model_fields_set:
            raise ValueError(
                f"batch_bytes={self.batch_bytes} and batch_size={self.batch_size} both say what a step reads: give one"
            )
        if self.compress_prob + self.direct_prob > 1:
            raise ValueError(
                f"compress_prob={self.compress_prob:g} and direct_prob={self.direct_prob:g} are shares of the same windows and "
                "add up to more than 1: lower one of them"
            )
        return self

    @property
    def feeds(self) -> bool:
        """Whether windows are shown in more ways than as they are."""
        return self.compress_prob > 0 or self.direct_prob > 0

    @model_serializer(mode="wrap")
    def _told(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was not given, so that it may be read again."""
        found: dict[str, Any] = told(self)
        found.pop("batch_bytes" if self.batch_bytes is None else "batch_size", None)
        return found

    def num_windows(self, length: int) -> int:
        """Windows of `length` bytes in a step, at least one."""
        if self.batch_bytes is None:
            return self.batch_size
        return min(MAX_WINDOWS, max(1, round(self.batch_bytes / length)))


class TrainingPlan(BaseModel):
    """One run: its length in steps or in seconds, and how far it has come. The schedule follows from it alone.

    A run of given steps is reproducible, so it keeps no time; one of given seconds depends on the machine's speed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Annotated[Objective, Field(description="what is predicted: the next byte, hidden ones, or both")] = "causal"
    mask_unit: Annotated[MaskUnit, Field(description="diffusion hides whole bytes, or single bits")] = "byte"
    noise_curriculum: Annotated[bool, Field(description="diffusion hides much at first, then evenly")] = False
    steps: Annotated[int | None, Field(ge=1, le=10_000_000, description="optimizer steps, at most")] = None
    seconds: Annotated[float | None, Field(gt=0, le=1_000_000, description="of wall time, at most")] = None
    steps_done: Annotated[int, Field(ge=0, lt=2**40, description="of this run")] = 0
    seconds_done: Annotated[float, Field(ge=0, lt=2**40, description="of this run, where its length is in seconds")] = 0.0
    validate_every: Annotated[int | None, Field(ge=1, le=1_000_000, description="steps between looks at held-out data")] = None
    carry: Annotated[bool, Field(description="read the data in order, keys and values carried from window to window")] = False
    patience: Annotated[int | None, Field(ge=1, le=10_000, description="looks without a new best after which it ends")] = None
    best_loss: Annotated[float | None, Field(description="lowest held-out loss so far, nats per byte")] = None
    looks_since_best: Annotated[int, Field(ge=0, lt=2**40, description="without a new best, in a row")] = 0
    all_read: Annotated[bool, Field(description="nothing is left that a model without a network could learn")] = False
    drifted: Annotated[bool, Field(description="a metric moved, and the model's telemetry has halt_on_drift")] = False
    growing: Annotated[Growing | None, Field(description="of a network that grows while it is trained")] = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.steps is None and self.seconds is None:
            raise ValueError("neither steps nor seconds is given, so the run would never end: give one of them, or both")
        if self.carry and self.objective != "causal":
            raise ValueError(f"carry reads a stream in order, which objective={self.objective!r} does not: use 'causal'")
        if self.objective == "causal" and (self.mask_unit != "byte" or self.noise_curriculum):
            raise ValueError(
                f"mask_unit={self.mask_unit!r}, noise_curriculum={self.noise_curriculum}: objective='causal' hides nothing, so "
                "leave that out, or use 'diffusion' or 'mixed'"
            )
        if self.patience is not None and self.validate_every is None:
            raise ValueError(f"patience={self.patience} counts looks at held-out data: give validate_every too")
        return self

    @model_validator(mode="after")
    def _can_grow(self) -> Self:
        if self.growing is None:
            return self
        if self.validate_every is None:
            raise ValueError("a network grows by what is seen of held-out data: give validate_every too")
        if self.patience is not None:
            raise ValueError(f"patience={self.patience} would end a training where a network grows: leave one of both out")
        if self.carry:
            raise ValueError("carry=true keeps what the network of before has read, which one that grows cannot: leave it out")
        return self

    @property
    def masking(self) -> Masking:
        """What diffusion hides now."""
        return Masking(self.mask_unit, least_hidden(self.progress) if self.noise_curriculum else 0.0)

    @property
    def now(self) -> dict[str, Any]:
        """What the next step is told: `objective`, `progress` and `masking`; where the network grows, `rate` and `alone`."""
        pace = self.growing.pace(self.steps_done) if self.growing else {}
        return {"objective": self.objective, "progress": self.progress, "masking": self.masking, **pace}

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 … 1."""
        by_steps = self.steps_done / self.steps if self.steps else 0.0
        by_time = self.seconds_done / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def progress_next(self) -> float:
        """`progress` after the step that is next, as far as that can be told: how long it takes, cannot."""
        return max(self.progress, min(1.0, (self.steps_done + 1) / self.steps) if self.steps else 0.0)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.progress >= 1.0 or self.stopped_early or self.all_read or self.drifted

    @property
    def rests(self) -> bool:
        """Whether no step is next: none is left, or something is to be done to the network first."""
        return self.finished or (self.growing is not None and self.growing.asks is not None)

    @property
    def may_grow(self) -> bool:
        """Whether enough of the run is left to see what comes of a growth."""
        if self.growing is None or self.finished:
            return False
        settings = self.growing.settings
        warms = self.steps is None or self.steps - self.steps_done > settings.warmup_steps
        return warms and self.progress <= 1 - settings.last_share

    @property
    def stopped_early(self) -> bool:
        """Whether the held-out loss has not fallen for as many looks as there was patience for."""
        return self.patience is not None and self.looks_since_best >= self.patience

    @property
    def validates_next(self) -> bool:
        """Whether held-out data is looked at after the step that is next."""
        return self.validate_every is not None and (self.steps_done + 1) % self.validate_every == 0

    def after_step(self, seconds: float) -> TrainingPlan:
        """The plan one step of the given duration later."""
        spent = self.seconds_done + seconds if self.seconds else self.seconds_done
        return self.model_copy(update={"steps_done": self.steps_done + 1, "seconds_done": spent})

    def after_validation(self, loss: float) -> TrainingPlan:
        """The plan that knows of one more look at held-out data."""
        better = self.best_loss is None or loss < self.best_loss
        seen = {"best_loss": loss, "looks_since_best": 0} if better else {"looks_since_best": self.looks_since_best + 1}
        growing = self.growing and self.growing.after_look(loss, self.steps_done, may_grow=self.may_grow)
        return self.model_copy(update=seen | {"growing": growing})


def learning_rate(config: TrainingConfig, progress: float, model_step: int, *, decay_share: float | None = None) -> float:
    """Warm-up over the model's first steps, then constant, then linear to the end of the run: lr·w·max(f, min(1, (1 − p)/d)).

    w = min(1, (step + 1)/warmup); p the plan's progress; d the share of the run that decays (the config's, unless another is
    given); f the final share.
    """
    warm = min(1.0, (model_step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = min(1.0, (1 - progress) / (decay_share or config.decay_share))
    return config.learning_rate * warm * max(config.final_learning_rate, decay)


def dropout_after(passes: float) -> float:
    """Dropout when data was read so often: none while it is new, then more, as a network begins to know it by heart.

    0 up to `FRESH_PASSES`, `MANY_DROPOUT` at `MANY_PASSES`, and `DROPOUT_PER_DOUBLING` more whenever they have doubled since.
    """
    if passes <= MANY_PASSES:
        return MANY_DROPOUT * max(0.0, (passes - FRESH_PASSES) / (MANY_PASSES - FRESH_PASSES))
    return min(MOST_DROPOUT, MANY_DROPOUT + DROPOUT_PER_DOUBLING * math.log2(passes / MANY_PASSES))
