"""K, C and S of a model on one window: what `train_step` and `infer_long` report.

K is the negentropy of the model's predictions; C the LZ76 complexity of the bits it predicts (the likelier value of
each data bit, given the true bits before it), low when predictions collapse; S the symbiosis of the mean byte
distribution it predicts with that of the training data. Where there is a network, S is the network's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs
from bitlm_core.telemetry.metrics import lz_complexity, negentropy_of_logits, symbiosis


@dataclass(frozen=True)
class TelemetrySnapshot:
    """Each in 0 … 1; see `metrics` for the definitions."""

    k: float
    c: float
    s: float


def measure_window(
    model: LanguageModel, window: NDArray[np.uint8], logits: NDArray[np.float32], reference: NDArray[np.float64]
) -> TelemetrySnapshot:
    """Telemetry of [T] bytes whose path logits are [T, 8], against the reference byte counts [256]."""
    return measure_predictions(logits, mean_byte_distribution(model, window), reference)


def measure_predictions(
    logits: NDArray[np.float32], mean_distribution: NDArray[np.float64], reference: NDArray[np.float64]
) -> TelemetrySnapshot:
    """Telemetry of bytes whose path logits are [T, 8] and predicted by the distribution [256] on average."""
    return TelemetrySnapshot(
        k=negentropy_of_logits(logits),
        c=lz_complexity(predicted_bits(logits).ravel()),
        s=symbiosis(mean_distribution, reference),
    )


def predicted_bits(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The likelier value of each bit; 0 where both are equal."""
    return (logits > 0).astype(np.uint8)


@torch.no_grad()
def mean_byte_distribution(model: LanguageModel, window: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[256] mean of the distributions predicted for the last bytes of a window (`model.probe_bytes` of them)."""
    size = min(len(window), model.config.max_bytes)
    row = torch.from_numpy(window[-size:].astype(np.int64))[None]
    nodes = model.predicted_nodes(row, start_bytes=max(0, size - model.probe_bytes))
    return byte_log_probs(nodes[0]).double().exp().mean(dim=0).cpu().numpy()
