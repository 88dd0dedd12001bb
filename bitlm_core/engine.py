"""Engine: one model with its optimizer, context mixer, telemetry and gate.

    learn      bytes ─ training.data ─→ network ─ objective ─→ optimizer          (random windows, many times)
                  └──────────────────→ context mixer, the network as one expert   (in order, each byte once)
    answer     bytes ─→ network ─ node logits ─→ context mixer ─→ sampling | scoring ─→ bytes, bits per byte
                                       └─ telemetry (K, C, S) ─→ safety verdict
    keep       Engine ─ tensors + header ─→ checkpoint ─→ Engine

Long work is a generator: it yields after each step or window, so that a caller can serve others in between or stop. An
engine is used by one thread at a time. Networks learn only in `train_steps`; everything else leaves the engine as it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.checkpoint.format import as_tensor
from bitlm_core.checkpoint.state_check import Layout, check_tensors, checked_count, layout_of
from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.device import keeping_freed_memory
from bitlm_core.diffusion.schedule import Schedule
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.generation.autoregressive import Generation, generate_steps
from bitlm_core.generation.long_context import LongInference, infer_long_steps
from bitlm_core.generation.masked_diffusion import diffusion_steps
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.learning import ReadAhead, StepReport, check_data, held_out_loss
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.config import BITS_PER_GROUP, count_parameters
from bitlm_core.models.packed import Weights
from bitlm_core.safety.floors import Safety, Verdict
from bitlm_core.safety.gate import enforce, judge
from bitlm_core.scoring.likelihood import Likelihood, score_steps
from bitlm_core.telemetry.drift import DriftDetector
from bitlm_core.telemetry.metrics import lz_complexity
from bitlm_core.telemetry.snapshot import TelemetrySnapshot, measure_window
from bitlm_core.training.batches import Batch, sample_windows
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, byte_counts
from bitlm_core.training.segments import Segments, segment_layout
from bitlm_core.training.segments import State as SegmentState
from bitlm_core.training.trainer import StepResult, Trainer

_MISFITS = (AttributeError, ConfigError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)
"""What a state that fits nowhere runs into; anything else is a defect of ours."""


class Engine:
    """A fresh engine is a function of its config; `from_state` makes one that continues where `state` was taken."""

    def __init__(self, config: EngineConfig, device: str = "cpu") -> None:
        self.config = config
        self.model = build_model(config.model, config.seed).to(device).eval()
        self.mixer = ContextMixer(config.mixing) if config.mixing else None
        _compile_kernels(self.mixer)
        self.trainer = Trainer(self.model, config.training, config.seed)
        self.drift = DriftDetector()
        self.step = 0
        self.diffusion_steps = 0
        self.plan: TrainingPlan | None = None
        self.reference = np.zeros(256)
        """[256] byte counts of all training data: what S compares with."""
        self._read_ahead = ReadAhead(self.mixer)
        self._segments: Segments | None = None
        """Of a training that carries keys and values: where it stands in its data."""
        self._carried: SegmentState | None = None
        """The same as a checkpoint told it, until the training goes on."""

    @property
    def num_parameters(self) -> int:
        """Parameters of the network."""
        return count_parameters(self.config.model)

    def set_training(self, training: TrainingConfig) -> None:
        """Change the training settings; the optimizer's moments stay."""
        self.config = self.config.model_copy(update={"training": training})
        self.trainer.configure(training)

    def expand_positional_encoding(self, max_seq_len: int) -> None:
        """Let windows have `max_seq_len` positions, see `LanguageModel.expand_positional_encoding`."""
        self.model.expand_positional_encoding(max_seq_len)
        self.config = self.config.model_copy(update={"model": self.model.config})

    # Learning

    def train_steps(
        self, data: ByteData, plan: TrainingPlan, held: ByteData | None = None
    ) -> Generator[StepReport, None, None]:
        """Train until the plan is finished, one yielded report per step. Stopping between steps loses nothing.

        `held`: held-out data, for a plan that looks at it. Raises ConfigError for data shorter than two bytes or missing;
        ModelStateError for a step whose loss is not finite, which leaves the engine as it was before that step.
        """
        check_data(data, plan, held)
        self.plan = plan
        carried = self._carried_state() if plan.steps_done else None
        self._segments, self._carried = self._open_segments(data) if plan.carry else None, None
        if self._segments and carried:
            self._segments.go_on_from(carried)
        with keeping_freed_memory():
            while not self.plan.finished:
                started = time.perf_counter()
                report = self._train_one(data, self.plan)
                if held is not None and self.plan.validates_next:
                    report = replace(report, held_out_loss=held_out_loss(self.model, held))
                self.plan = self.plan.after_step(time.perf_counter() - started)
                if report.held_out_loss is not None:
                    self.plan = self.plan.after_validation(report.held_out_loss)
                yield report

    def train_full_sequence(
        self, data: ByteData, *, ctx_bits: int = 4096, passes: int = 1
    ) -> Generator[StepReport, None, None]:
        """Slide over the data in segments of `ctx_bits` (9-bit groups), `passes` times, with keys and values carried from
        segment to segment as constants: memory is that of one segment, attention reaches back beyond it.

        Full attention sees its own segment and the whole one before; chunked attention its chunks. Raises ConfigError for
        sinusoidal positions, and as `train_steps`.
        """
        length = max(2, ctx_bits // BITS_PER_GROUP)
        self.set_training(self.config.training.model_copy(update={"window_bytes": length}))
        steps = passes * self._open_segments(data).num_segments
        return self.train_steps(data, TrainingPlan(steps=steps, carry=True))

    def _train_one(self, data: ByteData, plan: TrainingPlan) -> StepReport:
        training, segments = self.config.training, self._segments
        batch = segments.next_batch() if segments else self._sample(data)
        carried = segments.carried if segments else None
        result = self.trainer.step(batch, objective=plan.objective, step=self.step, progress=plan.progress, carried=carried)
        if segments:
            segments.commit(batch)
        self.step += 1
        self.diffusion_steps += plan.objective == "diffusion"
        if not self._read_ahead.knows(data):  # new data counts into the reference, once, after its first step
            self.reference = self.reference + (byte_counts(data.array) if data.counts is None else data.counts)
        with self.trainer.training_dtype():
            mixed = self._read_ahead.read(self.model, data)
        telemetry = self._measure(batch, result) if self.step % training.telemetry_every == 0 else None
        return StepReport(
            step=self.step,
            loss=result.loss,
            bits_per_byte=result.loss / math.log(2),
            bits_per_byte_mixed=mixed,
            grad_norm=result.grad_norm,
            learning_rate=result.learning_rate,
            num_bytes=batch.num_bytes,
            telemetry=telemetry,
            alerts=tuple(self.drift.observe(self.step, vars(telemetry))) if telemetry else (),
            halt_probs=result.trace.halt_probs,
            mean_layers=result.trace.mean_layers or None,
        )

    def _sample(self, data: ByteData) -> Batch:
        training, longest = self.config.training, self.config.model.max_bytes
        length = min(training.window_bytes or longest, longest)
        return sample_windows(data, batch=training.batch_size, length=length, seed=self.config.seed, step=self.step)

    def _open_segments(self, data: ByteData) -> Segments:
        training = self.config.training
        return Segments(
            self.model, data, batch=training.batch_size, length=training.window_bytes or self.config.model.max_bytes
        )

    def _carried_state(self) -> SegmentState | None:
        return self._segments.state() if self._segments else self._carried

    def _measure(self, batch: Batch, result: StepResult) -> TelemetrySnapshot:
        window = batch.data[0].numpy().astype(np.uint8)
        return measure_window(self.model, window, result.path_logits[0].cpu().numpy(), self.reference)

    # Answering

    def evaluate_steps(
        self, data: NDArray[np.uint8], documents: Iterable[tuple[int, int]] | None = None
    ) -> Generator[float, None, Likelihood]:
        """Bits per byte of data, see `scoring.likelihood`."""
        return score_steps(self.model, self.mixer, data, documents)

    def infer_steps(
        self, prompt: bytes, max_new_bytes: int, sampling: SamplingConfig, safety: Safety = "off", weights: Weights = "float32"
    ) -> Generator[float, None, tuple[Generation, Verdict | None]]:
        """Continue a prompt, see `generation.autoregressive`. Strict safety raises SafetyGateError.

        `weights`: int8 is faster and a little less exact; ConfigError for a model that only PyTorch can run.
        """
        predictor = Predictor(self.model, self.mixer, adaptive=False, weights=weights)
        generation = yield from generate_steps(predictor, prompt, max_new_bytes, sampling)
        return generation, self._judge(generation, safety)

    def infer_long_steps(
        self, data: NDArray[np.uint8], *, ctx_bits: int, overlap: int, carry: bool = False
    ) -> Generator[float, None, LongInference]:
        """Predict along an input of any length, see `generation.long_context`."""
        sizes = {"ctx_bits": ctx_bits, "overlap": overlap}
        return infer_long_steps(self.model, self.mixer, data, self.known_reference(), **sizes, carry=carry)

    def diffusion_sample_steps(
        self, *, num_bytes: int, steps: int, schedule: Schedule, prefix: bytes, suffix: bytes, seed: int
    ) -> Generator[float, None, tuple[Generation, Verdict | None]]:
        """Fill bytes between a prefix and a suffix, see `generation.masked_diffusion`."""
        generation = yield from diffusion_steps(
            self.model, num_bytes=num_bytes, steps=steps, schedule=schedule, prefix=prefix, suffix=suffix, seed=seed
        )
        return generation, self._judge(generation, "warn")

    def known_reference(self) -> NDArray[np.float64]:
        """The training data's byte counts; uniform before any training."""
        return self.reference if self.reference.any() else np.ones(256)

    def _judge(self, generation: Generation, safety: Safety) -> Verdict | None:
        if safety == "off":
            return None
        verdict = judge(bytes_to_bits(generation.data), self.reference, self.config.floors)
        enforce(verdict, safety)
        return verdict

    # Keeping

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON header from which `from_state` makes an engine that continues bit for bit."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.trainer.state().items()}
        tensors["reference"] = torch.from_numpy(self.reference)
        if self.mixer:
            tensors |= {f"mixer.{name}": as_tensor(value) for name, value in self.mixer.state_arrays().items()}
        carried = self._carried_state()
        if carried:
            tensors |= {f"carried.{name}": value for name, value in carried[0].items()}
        header = {
            "config": self.config.model_dump(mode="json"),
            "step": self.step,
            "diffusion_steps": self.diffusion_steps,
            "plan": self.plan.model_dump(mode="json") if self.plan else None,
            **self._read_ahead.state(),
            "carried": carried[1] if carried else None,
            "drift": self.drift.state(),
        }
        return {name: value.cpu() for name, value in tensors.items()}, header

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor], header: dict[str, Any], device: str = "cpu") -> Engine:
        """The engine that `state` was taken of. Raises ModelStateError when tensors and header do not fit together."""
        try:
            engine = cls(EngineConfig(**header["config"]), device)
            moments = _under("optimizer.", tensors)
            carried, told = _under("carried.", tensors), header["carried"]
            segments = segment_layout(engine.model, engine.trainer.dtype, carried, told) if told else {}
            layout = engine._layout(with_moments=bool(moments))
            check_tensors(tensors, layout | {f"carried.{name}": like for name, like in segments.items()})
            engine.model.load_state_dict(_under("model.", tensors))
            engine.trainer.restore(moments)
            if engine.mixer:
                like = engine.mixer.own_arrays
                mixer = _under("mixer.", tensors)
                engine.mixer.load_state_arrays({name: mixer[name].numpy().view(like[name].dtype) for name in like})
            engine.reference = tensors["reference"].numpy()
            engine.step, engine.diffusion_steps = checked_count(header["step"]), checked_count(header["diffusion_steps"])
            engine.plan = TrainingPlan(**header["plan"]) if header["plan"] else None
            engine._read_ahead.restore(header)
            engine._carried = (carried, told) if told else None
            engine.drift.restore(header["drift"])
        except _MISFITS as error:
            raise ModelStateError(
                f"the saved state does not describe a model ({type(error).__name__}: {str(error)[:200]}): load another one"
            ) from error
        return engine

    def _layout(self, *, with_moments: bool) -> dict[str, Layout]:
        """Names, shapes and dtypes of what `state` gives."""
        layout = {f"model.{name}": layout_of(value) for name, value in self.model.state_dict().items()}
        if with_moments:
            layout |= {f"optimizer.{name}": like for name, like in self.trainer.layout().items()}
        if self.mixer:
            layout |= {f"mixer.{name}": layout_of(as_tensor(array)) for name, array in self.mixer.own_arrays.items()}
        return {**layout, "reference": ((256,), torch.float64)}


def _compile_kernels(mixer: ContextMixer | None) -> None:
    """Have the numba kernels ready before any clock runs; on a machine's first use this takes seconds."""
    nothing = np.zeros(0, np.uint8)
    lz_complexity(np.zeros(2, np.uint8))
    if mixer:
        mixer.read(nothing)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
