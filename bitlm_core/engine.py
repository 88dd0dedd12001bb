"""Engine: one model with its optimizer, context mixer, telemetry and gate.

    learn      bytes ─ training.data ─→ network ─ objective ─→ optimizer          (random windows, many times)
                  └─ reading ────────→ context mixer, the network as one expert   (in order, each byte once)
    answer     bytes ─→ network ─ node logits ─→ context mixer ─→ sampling | scoring ─→ bytes, bits per byte
                                       └─ telemetry (K, C, S) ─→ safety verdict
    keep       Engine ─ tensors + header ─→ checkpoint ─→ Engine

Long work is a generator: it yields after each step or window, so that a caller can serve others in between or stop. An
engine is used by one thread at a time. Networks learn only in `train_steps`; everything else leaves the engine as it was.
With architecture='mix' the network and the optimizer are None: the context mixer reads, and answers, alone.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core import learning
from bitlm_core.checkpoint.state_check import checked_count
from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.device import keeping_freed_memory
from bitlm_core.engine_config import EngineConfig, check_training
from bitlm_core.engine_state import compared_with, restore_compared, restore_tensors, tensors_of
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.generation.autoregressive import Generation, generate_steps
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.filling import Filling, FillingState
from bitlm_core.generation.long_context import LongInference, infer_long_steps
from bitlm_core.generation.masked_diffusion import filling_steps
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.generation.template import Template
from bitlm_core.learning import StepReport
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.config import BITS_PER_GROUP, MIX_BYTES, count_parameters
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.packed_stack import AnyWeights
from bitlm_core.reading import Reader
from bitlm_core.safety.floors import Floors, Safety, Verdict
from bitlm_core.safety.gate import judged
from bitlm_core.scoring.bound import with_bound
from bitlm_core.scoring.likelihood import Likelihood, score_steps
from bitlm_core.scoring.score import Score, record_score_steps
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.drift import DriftAlert
from bitlm_core.telemetry.snapshot import TelemetrySnapshot
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, byte_counts
from bitlm_core.training.segments import Segments
from bitlm_core.training.segments import State as SegmentState
from bitlm_core.training.trainer import Trainer

_MISFITS = (AttributeError, ConfigError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)
"""What a state that fits nowhere runs into; anything else is a defect of ours."""


class Engine:
    """A fresh engine is a function of its config; `from_state` makes one that continues where `state` was taken."""

    def __init__(self, config: EngineConfig, device: str = "cpu") -> None:
        self.config = config
        self.model = build_model(config.model, config.seed).to(device).eval() if config.model.has_network else None
        self.mixer = ContextMixer(config.mixing) if config.mixing else None
        learning.compile_kernels(self.mixer)
        self.trainer = Trainer(self.model, config.training, config.seed) if self.model else None
        self.drift = config.telemetry.drift_detector()
        self.step = 0
        self.diffusion_steps = 0
        self.plan: TrainingPlan | None = None
        self.reference = np.zeros(256)
        """[256] byte counts of all training data: what S compares with."""
        self.standard: NDArray[np.int64] | None = None
        """[256, 256] byte pairs of the data that the gate was calibrated with, see `safety.calibrate`."""
        self._reader = Reader(self.mixer)
        self._segments: Segments | None = None
        """Of a training that carries keys and values: where it stands in its data."""
        self._carried: SegmentState | None = None
        """The same as a checkpoint told it, until the training goes on."""

    @property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        return count_parameters(self.config.model)

    def set_training(self, training: TrainingConfig) -> None:
        """Change the training settings; the optimizer's moments stay. Raises ConfigError for a network's without one."""
        check_training(self.config.model, training)
        self.config = self.config.model_copy(update={"training": training})
        if self.trainer:
            self.trainer.configure(training)

    def set_telemetry(self, telemetry: TelemetryConfig, floors: Floors | None = None) -> None:
        """Watch in another way from the next step on, and demand other floors; what drift has seen so far stays."""
        self.config = self.config.watching(telemetry, floors or self.config.floors)
        self.drift = telemetry.drift_detector(self.drift.state())

    def expand_positional_encoding(self, max_seq_len: int) -> None:
        """Let windows have `max_seq_len` positions, see `LanguageModel.expand_positional_encoding`."""
        model = self._network("a longer window")
        model.expand_positional_encoding(max_seq_len)
        self.config = self.config.model_copy(update={"model": model.config})

    # Learning

    def train_steps(
        self, data: ByteData, plan: TrainingPlan, held: ByteData | None = None
    ) -> Generator[StepReport, None, None]:
        """Train until the plan is finished (or rests), one yielded report per step. Stopping between steps loses nothing.

        Without a network a step reads the next `MIX_BYTES`, and the end of the data is the end of the plan (`all_read`).
        `held`: held-out data, for a plan that looks at it. Raises ConfigError for data shorter than two bytes or missing;
        ModelStateError for a step whose loss is not finite, which leaves the engine as it was before that step.
        """
        check_training(self.config.model, self.config.training, plan)
        learning.check_data(data, plan, held)
        learning.prepare(self.model, data)
        self.plan = self._seen(data, plan)
        carried = self._carried_state() if plan.steps_done else None
        self._segments, self._carried = self._open_segments(data) if plan.carry else None, None
        if self._segments and carried:
            self._segments.go_on_from(carried)
        with keeping_freed_memory():
            while not self.plan.rests:
                started = time.perf_counter()
                report = self._train_one(data, self.plan)
                if held is not None and self.plan.validates_next:
                    known = learning.validation_loss(self.trainer, self.mixer, held, self.plan)
                    report = replace(report, held_out_loss=known)
                self.plan = self._seen(data, self.plan.after_step(time.perf_counter() - started))
                if report.held_out_loss is not None:
                    self.plan = self.plan.after_validation(report.held_out_loss)
                if report.alerts and self.config.telemetry.halt_on_drift:
                    self.plan = self.plan.model_copy(update={"drifted": True})
                yield report

    def train_full_sequence(
        self, data: ByteData, *, ctx_bits: int = 4096, passes: int = 1
    ) -> Generator[StepReport, None, None]:
        """Slide over the data in segments of `ctx_bits` (9-bit groups), `passes` times, with keys and values carried from
        segment to segment as constants: memory is that of one segment, attention reaches back beyond it.

        Full attention sees its own segment and the whole one before; chunked attention its chunks. Raises ConfigError for
        sinusoidal positions and for patches, and as `train_steps`.
        """
        length = max(2, ctx_bits // BITS_PER_GROUP)
        self._network("train_full_sequence", "train_steps reads in order as it is; or ").carrying(length, length)
        self.set_training(self.config.training.model_copy(update={"window_bytes": length}))
        steps = passes * self._open_segments(data).num_segments
        return self.train_steps(data, TrainingPlan(steps=steps, carry=True))

    def _train_one(self, data: ByteData, plan: TrainingPlan) -> StepReport:
        if self.trainer is None:
            return self._read_one(data)
        segments, model, watch = self._segments, self.trainer.model, self.config.telemetry
        batch = segments.next_batch() if segments else learning.sample_batch(self._reader, data, self.config, self.step)
        passes = plan.steps_done * batch.num_bytes / len(data)
        composite, carried = learning.composite_term(self.config, self.reference), segments.carried if segments else None
        result = self.trainer.step(batch, **plan.now, step=self.step, passes=passes, carried=carried, composite=composite)
        if segments:
            segments.commit(batch)
        self.step += 1
        self.diffusion_steps += plan.objective != "causal"
        self._count_in(data)
        learning.settle_where_asked(self.trainer, result, self.config, self.step, self._reader.opens_next(plan, data))
        with self.trainer.training_dtype():
            mixed = self._reader.read_beside(model, data, plan, batch_bytes=batch.num_bytes)
            attention = learning.measure_attention(model, batch, watch, self.step)
        telemetry = learning.measure_batch(model, batch, result, self.reference, watch) if self._measures else None
        seen = {"alerts": self._alerts(telemetry), "attention_entropy": attention}
        return learning.report_of_step(self.step, result, batch.num_bytes, mixed, telemetry, **seen)

    def _read_one(self, data: ByteData) -> StepReport:
        self._count_in(data)
        self.step += 1
        last = self._reader.bytes_left(data) <= MIX_BYTES
        reading = self._reader.read_alone(data, probed=self._measures or last)
        telemetry = learning.measure_reading(reading, self.reference, self.config.telemetry)
        return learning.report_of_reading(self.step, reading, telemetry, self._alerts(telemetry))

    @property
    def _measures(self) -> bool:
        return learning.measures(self.config, self.step)

    def _alerts(self, telemetry: TelemetrySnapshot | None) -> tuple[DriftAlert, ...]:
        return tuple(self.drift.observe(self.step, telemetry.watched(self.config.telemetry))) if telemetry else ()

    def _count_in(self, data: ByteData) -> None:
        """New data counts into the reference, once; a first step that fails has not met it."""
        if not self._reader.knows(data):
            self.reference = self.reference + (byte_counts(data.array) if data.counts is None else data.counts)

    def _seen(self, data: ByteData, plan: TrainingPlan) -> TrainingPlan:
        """The plan, which is over where a mixer without a network has read all there is."""
        done = self.model is None and not self._reader.bytes_left(data)
        return plan.model_copy(update={"all_read": True}) if done else plan

    def _network(self, what: str, instead: str = "") -> LanguageModel:
        """The network. Raises ConfigError where there is none for `what`."""
        if self.model is None:
            raise ConfigError(f"architecture='mix' has no network, which {what} needs: {instead}use architecture='byte'")
        return self.model

    def _open_segments(self, data: ByteData) -> Segments:
        return learning.open_segments(self._network("carrying keys and values"), data, self.config.training)

    def _carried_state(self) -> SegmentState | None:
        return self._segments.state() if self._segments else self._carried

    # Answering

    def evaluate_steps(
        self, data: NDArray[np.uint8], documents: Iterable[tuple[int, int]] | None = None
    ) -> Generator[float, None, Likelihood]:
        """Bits per byte of data, see `scoring.likelihood`; of a network trained by diffusion also the bound."""
        scoring = score_steps(self.model, self.mixer, data, documents)
        return with_bound(scoring, self.model, self.diffusion_steps, data, documents)

    def score_steps(self, data: NDArray[np.uint8], spans: NDArray[np.int64], adaptive: bool) -> Generator[float, None, Score]:
        """Surprise and oddness of records, see `scoring.score`."""
        scoring = record_score_steps(self.model, self.mixer, data, spans, adaptive=adaptive)
        return with_bound(scoring, self.model, self.diffusion_steps, data, spans)

    def infer_steps(
        self, prompt: bytes, max_new_bytes: int, sampling: SamplingConfig, safety: Safety = "off", weights: AnyWeights = None
    ) -> Generator[float, None, tuple[Generation, Verdict | None]]:
        """Continue a prompt, see `generation.autoregressive`. Strict safety raises SafetyGateError.

        `weights`: None, its own; int8 is faster, a little less exact, and a ConfigError where only PyTorch can run the model.
        """
        predictor = Predictor(self.model, self.mixer, adaptive=False, weights=weights)
        generation = yield from generate_steps(predictor, prompt, max_new_bytes, sampling)
        return generation, self._judge(bytes_to_bits(generation.data), safety, generation.costs)

    def infer_long_steps(
        self, data: NDArray[np.uint8], *, ctx_bits: int, overlap: int, carry: bool = False
    ) -> Generator[float, None, LongInference]:
        """Predict along an input of any length, see `generation.long_context`."""
        how: dict[str, Any] = {"ctx_bits": ctx_bits, "overlap": overlap, "carry": carry, "settings": self.config.telemetry}
        return infer_long_steps(self.model, self.mixer, data, self.known_reference(), **how)

    def diffusion_sample_steps(
        self, template: Template, sampling: DiffusionSampling | None = None, safety: Safety = "warn"
    ) -> Generator[FillingState, None, tuple[Filling, Verdict | None]]:
        """Fill the gaps of a template, see `generation.masked_diffusion`; what was drawn is judged."""
        model = self._network("diffusion_sample", "continue a prompt with infer, or ")
        filling = yield from filling_steps(model, template, sampling or DiffusionSampling())
        return filling, self._judge(filling.bits, safety)

    def known_reference(self) -> NDArray[np.float64]:
        """The training data's byte counts; uniform before any training."""
        return self.reference if self.reference.any() else np.ones(256)

    def _judge(self, bits: NDArray[np.uint8], safety: Safety, costs: Sequence[float] = ()) -> Verdict | None:
        demanded, profile = self.config.floors, self.config.telemetry.profile
        return judged(bits, self.reference, demanded, safety, self.standard, costs, profile)

    # Keeping

    def state(self, *, moments: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON header from which `from_state` makes an engine that continues bit for bit; so with `moments`."""
        carried = self._carried_state()
        tensors = tensors_of(self.model, self.trainer if moments else None, self.mixer, carried[0] if carried else {})
        tensors |= compared_with(self.reference, self.standard)
        header = {
            "config": self.config.model_dump(mode="json"),
            "step": self.step,
            "diffusion_steps": self.diffusion_steps,
            "plan": self.plan.model_dump(mode="json") if self.plan else None,
            **self._reader.state(),
            "carried": carried[1] if carried else None,
            "drift": self.drift.state(),
        }
        return {name: value.cpu() for name, value in tensors.items()}, header

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], header: dict[str, Any], device: str = "cpu") -> Engine:
        """The engine that `state` was taken of. Raises ModelStateError when tensors and header do not fit together."""
        try:
            engine = cls(EngineConfig(**header["config"]), device)
            told = header["carried"]
            carried = restore_tensors(tensors, told, engine.model, engine.trainer, engine.mixer)
            engine.reference, engine.standard = restore_compared(tensors, engine.config.floors)
            engine.step, engine.diffusion_steps = checked_count(header["step"]), checked_count(header["diffusion_steps"])
            engine.plan = TrainingPlan(**header["plan"]) if header["plan"] else None
            engine._reader.restore(header)
            engine._carried = (carried, told) if told else None
            engine.drift.restore(header["drift"])
        except _MISFITS as error:
            raise ModelStateError(
                f"the saved state does not describe a model ({type(error).__name__}: {str(error)[:200]}): load another one"
            ) from error
        return engine
