"""What belongs to learning beside the optimizer: reports, what can be trained how, and the look at held-out data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.diffusion.schedule import WHOLE_BYTES, Masking
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_nats
from bitlm_core.patching.boundaries import PatchStatistics, patch_statistics
from bitlm_core.reading import Reader, Reading, reserved_from
from bitlm_core.scoring.bound import Bound, bound_steps
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.steps import finished
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.drift import DriftAlert
from bitlm_core.telemetry.metrics import lz_complexity
from bitlm_core.telemetry.snapshot import (
    TelemetrySnapshot,
    attention_entropy,
    mean_byte_distribution,
    mean_of_nodes,
    measure_predictions,
)
from bitlm_core.training.batches import Batch, sample_windows
from bitlm_core.training.composite import Composite, composite_of
from bitlm_core.training.compressed import Feed
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData
from bitlm_core.training.segments import Segments
from bitlm_core.training.trainer import StepResult, Trainer

VALIDATION_BYTES = 1 << 16
"""How much of the held-out data one look is at."""
TELEMETRY_BYTES = 4096
"""At the end of what a step without a network reads, or of a step's windows together: what K and C are measured on."""
TELEMETRY_ROWS = 8
"""So many of a step's windows, at most."""
_VALIDATION_SEED = 0  # the same windows at every look, whatever the model's own seed


@dataclass(frozen=True)
class StepReport:
    """One training step. `loss` in nats per byte and `bits_per_byte` are the network's, on its batch as it was shown.

    `bits_per_byte_mixed`: what the context mixer gave, alone or with the network as an expert, on bytes it had never seen;
    None in steps in which it read nothing. Without a network both figures are this one, and `grad_norm` and `learning_rate`
    are 0. `telemetry` and `attention_entropy` (nats) only in the steps that measure them, `held_out_loss` (nats per byte, the
    network alone, or the frozen mixer where it is alone) only in those that look. `halt_probs` and `mean_layers`: of halting
    models, per layer the mean halting probability, and layers per position. `patches`: of byte-latent models, in the steps
    that measure, the sizes of the batch's patches in bytes; those at the ends of windows are as they were cut off there.
    `feed`: of trainings that show windows in several ways, how each went. Telemetry is of windows shown as data (raw, or
    decompressed), `num_bytes` of data, whatever it was shown as.
    """

    step: int
    loss: float
    bits_per_byte: float
    bits_per_byte_mixed: float | None
    grad_norm: float
    learning_rate: float
    num_bytes: int
    telemetry: TelemetrySnapshot | None
    alerts: tuple[DriftAlert, ...]
    held_out_loss: float | None = None
    halt_probs: tuple[float, ...] = ()
    mean_layers: float | None = None
    attention_entropy: float | None = None
    patches: PatchStatistics | None = None
    feed: Feed | None = None


def check_data(data: ByteData, plan: TrainingPlan, held: ByteData | None) -> None:
    """Raise ConfigError for too little data, or for a plan that looks at held-out data where there is none."""
    if len(data) < 2:
        raise ConfigError(f"the training data has {len(data)} byte(s); nothing can be learned from less than 2: give more")
    if plan.validate_every is not None and (held is None or len(held) < 2):
        raise ConfigError(
            f"validate_every={plan.validate_every} looks at held-out data, and there is none (less than 2 bytes): train on "
            "a dataset with a held-out part, or without validation"
        )


def prepare(model: LanguageModel | None, data: ByteData) -> None:
    """What a network needs to know of its data before its first step; the reserved part stays unseen."""
    if model:
        model.prepare(np.asarray(data.array[: max(1, reserved_from(len(data)))]))


def compile_kernels(mixer: ContextMixer | None) -> None:
    """Have the numba kernels ready before any clock runs; on a machine's first use this takes seconds."""
    lz_complexity(np.zeros(2, np.uint8))
    if mixer:
        mixer.read(np.zeros(0, np.uint8))


def sample_batch(reader: Reader, data: ByteData, config: EngineConfig, step: int) -> Batch:
    """The random windows of a step, of what the reader has not reserved."""
    training, longest = config.training, config.model.max_bytes
    length = min(training.window_bytes or longest, longest, len(data))
    return reader.sample(data, batch=training.num_windows(length), length=length, seed=config.seed, step=step)


def open_segments(model: LanguageModel, data: ByteData, training: TrainingConfig) -> Segments:
    """The data in order, for a training that carries keys and values."""
    length = training.window_bytes or model.config.max_bytes
    return Segments(model, data, batch=training.num_windows(length), length=length)


def composite_term(config: EngineConfig, reference: NDArray[np.float64]) -> Composite | None:
    """What a step minimises beside its loss; None where the settings ask for nothing."""
    asked = config.telemetry
    return composite_of(asked.composite_loss, asked.lambdas, reference, whole_bytes=config.model.architecture != "bit")


def measures(config: EngineConfig, step: int) -> bool:
    """Whether K, C and S are measured in the step that leads to `step`."""
    return step % (config.training.telemetry_every or config.telemetry.telemetry_every) == 0


def settle_where_asked(trainer: Trainer, result: StepResult, config: EngineConfig, step: int, reads: bool) -> None:
    """Have the network that answers know what was learned, if it is asked in the step that leads to `step`.

    It is, where the mixer `reads` with it, and by what is measured and is not at hand of the step itself.
    """
    if reads or _looks_at_attention(config.telemetry, step) or (measures(config, step) and result.trace.nodes is None):
        trainer.settle()


def measure_batch(
    model: LanguageModel, batch: Batch, result: StepResult, reference: NDArray[np.float64], settings: TelemetryConfig
) -> TelemetrySnapshot | None:
    """Telemetry of a training step: of the ends of its first windows, from what the step itself computed.

    Where the model has no byte distributions at hand, a pass of its own asks for some. None where no window was shown as data:
    compressed streams say nothing of the data's K, C and S.
    """
    rows = result.path_logits[:TELEMETRY_ROWS]
    if not len(rows):
        return None
    logits = rows[:, -TELEMETRY_BYTES // len(rows) :].cpu().numpy()
    if result.trace.nodes is None:
        mean = mean_byte_distribution(model, batch.data[0].numpy().astype(np.uint8))
    else:
        mean = mean_of_nodes(result.trace.nodes)
    return measure_predictions(logits, mean, reference, settings)


def measure_attention(model: LanguageModel, batch: Batch, settings: TelemetryConfig, step: int) -> float | None:
    """Entropy of attention in the batch's first window; None where it is not this step's turn."""
    if not _looks_at_attention(settings, step):
        return None
    first = batch.parts(len(batch.data))[0].to(model.device)
    return attention_entropy(model, first.data, first.documents)


def _looks_at_attention(settings: TelemetryConfig, step: int) -> bool:
    return settings.attention_every is not None and settings.attention_every > 0 and step % settings.attention_every == 0


def measure_reading(reading: Reading, reference: NDArray[np.float64], settings: TelemetryConfig) -> TelemetrySnapshot | None:
    """Telemetry of what was read without a network; None where nothing was probed."""
    if reading.mean_distribution is None:
        return None
    return measure_predictions(reading.logits[-TELEMETRY_BYTES:], reading.mean_distribution, reference, settings)


def report_of_step(
    step: int, result: StepResult, num_bytes: int, mixed: float | None, telemetry: TelemetrySnapshot | None, **more: Any
) -> StepReport:
    """The report of an optimizer step; `mixed`: bits per byte of what the mixer read beside it."""
    return StepReport(
        step=step,
        loss=result.loss,
        bits_per_byte=result.loss / math.log(2),
        bits_per_byte_mixed=mixed,
        grad_norm=result.grad_norm,
        learning_rate=result.learning_rate,
        num_bytes=num_bytes,
        telemetry=telemetry,
        halt_probs=result.trace.halt_probs,
        mean_layers=result.trace.mean_layers or None,
        patches=_patches(result) if telemetry else None,
        feed=result.feed,
        **more,
    )


def _patches(result: StepResult) -> PatchStatistics | None:
    starts = result.trace.starts
    return None if starts is None or not starts.numel() else patch_statistics(starts)


def report_of_reading(
    step: int, reading: Reading, telemetry: TelemetrySnapshot | None, alerts: tuple[DriftAlert, ...]
) -> StepReport:
    """The report of a step without a network, in which something was read."""
    loss = reading.nats / reading.num_bytes
    return StepReport(
        step=step,
        loss=loss,
        bits_per_byte=loss / math.log(2),
        bits_per_byte_mixed=loss / math.log(2),
        grad_norm=0.0,
        learning_rate=0.0,
        num_bytes=reading.num_bytes,
        telemetry=telemetry,
        alerts=alerts,
    )


@torch.no_grad()
def held_out_loss(model: LanguageModel, held: ByteData) -> float:
    """Nats per byte of the network alone on windows of held-out data, the same ones at every look; fp32, causal."""
    length = min(model.config.max_bytes, len(held))
    batch = max(1, min(VALIDATION_BYTES // length, len(held) // length))
    windows = sample_windows(held, batch=batch, length=length, seed=_VALIDATION_SEED, step=0)
    per_pass = max(1, 4096 // (length * model.positions_per_byte))
    total = 0.0
    for part in windows.parts(-(-batch // per_pass)):
        data = part.data.to(model.device)
        total += float(path_nats(model.path_logits(data, documents=part.documents), data).double().sum())
    return total / windows.num_bytes


def held_out_mixed_loss(model: LanguageModel | None, mixer: ContextMixer | None, held: ByteData) -> float:
    """Nats per byte of network (where there is one) and context mixing, both frozen, on the beginning of held-out data."""
    if mixer is None:
        raise ConfigError("without context mixing there is nothing to mix: use held_out_loss")
    part, mixer = np.asarray(held.array[:VALIDATION_BYTES]), mixer.copy()
    mixer.start_document()
    total = 0.0
    windows = half_overlapping(len(part), window_bytes(model))
    for window, logits in expert_path_logits(model, part, windows):
        predicted = part[window.predicted : window.end]
        total += total_nats(mixer.read(predicted, logits, learn=False), predicted)
    return total / len(part)


def validation_loss(trainer: Trainer | None, mixer: ContextMixer | None, held: ByteData, plan: TrainingPlan) -> float:
    """What a training looks at: nats per byte of the network alone, or of the frozen mixer where there is no network.

    Of diffusion it is the bound, see `scoring.bound`; of mixed training the mean of both.
    """
    if trainer is None:
        return held_out_mixed_loss(None, mixer, held)
    trainer.settle()
    model = trainer.model
    if plan.objective == "causal":
        return held_out_loss(model, held)
    bound = held_out_bound(model, held, Masking(plan.mask_unit)).bits_per_byte_bound * math.log(2)
    return bound if plan.objective == "diffusion" else (bound + held_out_loss(model, held)) / 2


def held_out_bound(model: LanguageModel, held: ByteData, masking: Masking = WHOLE_BYTES) -> Bound:
    """The bound of held-out data, estimated on the same masks at every look."""
    return finished(bound_steps(model, held.array, held.documents(), masking))
