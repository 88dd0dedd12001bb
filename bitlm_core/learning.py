"""What belongs to learning beside the optimizer: reports, the mixer's reading ahead, and the look at held-out data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitlm_core.checkpoint.state_check import checked_counts
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import stream_windows
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_nats
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.telemetry.drift import DriftAlert
from bitlm_core.telemetry.snapshot import TelemetrySnapshot
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData

READ_AHEAD_BYTES = 4096
"""What the context mixer reads per training step, until it has read all: enough to finish well before the network."""
VALIDATION_BYTES = 1 << 16
"""How much of the held-out data one look is at."""
_VALIDATION_SEED = 0  # the same windows at every look, whatever the model's own seed


@dataclass(frozen=True)
class StepReport:
    """One training step. `loss` in nats per byte and `bits_per_byte` are the network's, on its batch.

    `bits_per_byte_mixed`: what the network and the context mixer together gave, on bytes the mixer had never seen, while it
    read ahead; None once it has read all of the data. `telemetry` only in the steps that measure it, `held_out_loss` (nats
    per byte, the network alone) only in those that look. `halt_probs` and `mean_layers`: of halting models, per layer the mean
    halting probability, and layers per position.
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


def check_data(data: ByteData, plan: TrainingPlan, held: ByteData | None) -> None:
    """Raise ConfigError for too little data, or for a plan that looks at held-out data where there is none."""
    if len(data) < 2:
        raise ConfigError(f"the training data has {len(data)} byte(s); nothing can be learned from less than 2: give more")
    if plan.validate_every is not None and (held is None or len(held) < 2):
        raise ConfigError(
            f"validate_every={plan.validate_every} looks at held-out data, and there is none (less than 2 bytes): train on "
            "a dataset with a held-out part, or without validation"
        )


class ReadAhead:
    """Lets a context mixer read training data in order, each byte once: predict, then update.

    So no byte is ever scored with its own counts. It stands beside the network, which is one of its experts.
    """

    def __init__(self, mixer: ContextMixer | None) -> None:
        self._mixer = mixer
        self._read_to: dict[str, int] = {}
        """For each data set (by digest), how far it was read."""
        self._reading: str | None = None
        """The data set that was read last: the mixer's context is of that one."""

    def knows(self, data: ByteData) -> bool:
        """Whether this data was met before."""
        return data.digest in self._read_to

    def read(self, model: LanguageModel, data: ByteData) -> float | None:
        """Read the next bytes; the bits per byte of network and mixer together there. None when all were read."""
        start = self._read_to.setdefault(data.digest, 0)
        part = np.asarray(data.array[start : start + READ_AHEAD_BYTES])
        if self._mixer is None or not len(part):
            return None
        nats = 0.0
        for begin, end in data.documents(start, start + len(part)):
            span = np.asarray(data.array[begin:end])
            windows = stream_windows(len(span), model.config.max_bytes, 0)
            expert = np.concatenate([logits for _, logits in expert_path_logits(model, span, windows)])
            if data.digest != self._reading or data.begins_document(begin):
                self._mixer.start_document()
                self._reading = data.digest
            nats += total_nats(self._mixer.read(span, expert, learn=True), span)
        self._read_to[data.digest] = start + len(part)
        return nats / (math.log(2) * len(part))

    def state(self) -> dict[str, Any]:
        """For the header of a checkpoint."""
        return {"read_to": dict(self._read_to), "reading": self._reading}

    def restore(self, header: dict[str, Any]) -> None:
        """Take back what `state` gave. Raises KeyError or ValueError for anything else."""
        self._read_to = checked_counts(header["read_to"])
        self._reading = header.get("reading") if header.get("reading") in self._read_to else None


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
