"""K, C, S and the rest of a model, in one training step or on one window: what `train_step` and `infer_long` report.

K is the negentropy of the model's predictions; C the LZ76 complexity of the bits it predicts (the likelier value of each data
bit, given the true bits before it), low when predictions collapse; S the symbiosis of the mean byte distribution it predicts
with that of the training data. Where there is a network, S is the network's. A training step measures all of it on what its
own pass has computed, on several of its windows: of one alone, C moves by 0.1 from step to step. Only a look at attention
takes a pass of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.layers.halting import Trace
from bitlm_core.layers.probe import Probe
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.telemetry.metrics import (
    composite_score,
    lz_complexity,
    negentropy_of_logits,
    symbiosis,
    symbiosis_by_position,
    symbiosis_kl,
)

ATTENTION_QUERIES = 16
"""Rows of each attention map that a look is at, evenly spread."""


@dataclass(frozen=True)
class TelemetrySnapshot:
    """Each in 0 … 1 but `symbiosis_kl` (nats); see `metrics` for the definitions.

    symbiosis_kl: the mean predicted distribution, as so many counts as bytes were predicted, against the reference's counts.
    composite: by the λ of the settings, of what their profile watches.
    """

    k: float
    c: float
    s: float
    transition_rate: float
    symbiosis_kl: float
    composite: float

    def watched(self, settings: TelemetryConfig) -> dict[str, float]:
        """What drift is looked for in: K, C and S, or what the profile has in their places."""
        return {"k": self.k, **_complexity(self.c, self.transition_rate, settings), "s": self.s}


def measure_predictions(
    logits: NDArray[np.float32],
    mean_distribution: NDArray[np.float64],
    reference: NDArray[np.float64],
    settings: TelemetryConfig = TelemetryConfig(),  # noqa: B008 - frozen
) -> TelemetrySnapshot:
    """Telemetry of bytes whose path logits are [T, 8], or [R, T, 8] in several rows, predicted by the distribution [256].

    C and the transition rate are means over rows. Raises ConfigError for logits that are NaN.
    """
    rows = predicted_bits(logits).reshape(-1, 8 * logits.shape[-2])
    k, s = negentropy_of_logits(logits), symbiosis(mean_distribution, reference)
    c = math.fsum(map(lz_complexity, rows)) / len(rows)
    rate = float(np.count_nonzero(rows[:, 1:] != rows[:, :-1])) / max(1, rows.size - len(rows))
    (complexity,) = _complexity(c, rate, settings).values()
    kl = symbiosis_kl(mean_distribution * (logits.size // 8), reference)
    return TelemetrySnapshot(k, c, s, rate, kl, composite_score(k, complexity, s, settings.lambdas))


def predicted_bits(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The likelier value of each bit; 0 where both are equal."""
    return (logits > 0).astype(np.uint8)


def mean_of_nodes(nodes: Tensor) -> NDArray[np.float64]:
    """[n, 256] node logits → [256] mean of the byte distributions that they are, to about 1e-7: without logarithms.

    In numpy: its small operations cost a third of torch's.
    """
    with np.errstate(over="ignore"):  # e^89 and more: the probability is 0
        ones = 1 / (1 + np.exp(-nodes.detach().cpu().numpy()))
    probs = np.ones((len(ones), 1), np.float32)
    for depth in range(8):
        both = np.empty((len(ones), 2 << depth), np.float32)
        np.multiply(probs, ones[:, 1 << depth : 2 << depth], out=both[:, 1::2])
        np.subtract(probs, both[:, 1::2], out=both[:, 0::2])
        probs = both
    return probs.mean(axis=0, dtype=np.float64)  # type: ignore[no-any-return]


def mean_byte_distribution(model: LanguageModel, window: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[256] mean of the distributions predicted for the last bytes of a window (`model.probe_bytes` of them)."""
    return mean_of_nodes(_predicted_nodes(model, window))


def symbiosis_with_teacher(model: LanguageModel, teacher: LanguageModel, window: NDArray[np.uint8]) -> float:
    """S of a model with a teacher instead of the training data: position by position over the last bytes of a window.

    Where one of them can afford fewer bytes than the other (`probe_bytes`), or has a shorter window, both are asked for those.
    """
    length = min(len(window), model.config.max_bytes, teacher.config.max_bytes)
    nodes = [_predicted_nodes(each, window[-length:]) for each in (model, teacher)]
    size = min(map(len, nodes))
    q, r = (byte_log_probs(each[-size:]).double().exp().cpu().numpy() for each in nodes)
    return symbiosis_by_position(q, r)


@torch.no_grad()
def attention_entropy(model: LanguageModel, data_BT: Tensor, documents: Tensor | None = None) -> float:
    """Mean over layers, heads, sampled queries and rows of the entropy of attention's map: 0 … ln T, nats.

    Of the map itself, in a causal pass over [B, T] bytes; 0: each query looks at one key alone.
    """
    probe = Probe(ATTENTION_QUERIES)
    model.path_logits(data_BT, documents=documents, trace=Trace(probe=probe))
    return math.fsum(float(layer.mean()) for layer in probe.entropy) / len(probe.entropy)


@torch.no_grad()
def _predicted_nodes(model: LanguageModel, window: NDArray[np.uint8]) -> Tensor:
    size = min(len(window), model.config.max_bytes)
    row = torch.from_numpy(window[-size:].astype(np.int64))[None]
    return model.predicted_nodes(row, start_bytes=max(0, size - model.probe_bytes))[0]


def _complexity(c: float, rate: float, settings: TelemetryConfig) -> dict[str, float]:
    """C, or what stands in its place, under its own name."""
    return {"transition_rate": rate} if settings.profile == "legacy" else {"c": c}
