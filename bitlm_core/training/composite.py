"""The composite score as a loss term, for who wants a network that is surer, or that speaks more like its data.

    minimised = nats per byte + weight · (1 − (λ_K·K + λ_S·S) / (λ_K + λ_S))

K and S are those of `telemetry.metrics`, of a step's own predictions: K over their bits, S of their mean byte distribution with
that of the training data. C takes no part: a count of phrases has no gradient (nor has the transition rate of the likelier
bits). Of `bit` networks S takes none either: they read a byte out bit by bit, and the distribution of a whole byte would cost
255 positions more. The term leads away from the likeliest predictions, so bits per byte are worse for it; it is no part of
what is reported as loss.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.models.output import byte_log_probs

COMPOSITE_BYTES = 1024
"""S is of the mean over so many bytes of a step, evenly spread, at most: the byte distributions of more would take memory."""
_LEAST = 1e-20  # a probability below which there is no gradient, so that none is infinite


class Composite(NamedTuple):
    """weight: of the term, in nats. reference [256]: byte counts of the training data; all 0: those of the batch stand in."""

    weight: float
    lambda_k: float
    lambda_s: float
    reference: Tensor


class Predictions(NamedTuple):
    """path_logits [..., 8] of the bytes that are predicted; nodes [n, 256] of some of these, None where there are none."""

    path_logits: Tensor
    nodes: Tensor | None


def composite_of(
    weight: float, lambdas: tuple[float, float, float], reference: NDArray[np.float64], *, whole_bytes: bool
) -> Composite | None:
    """The term by its settings, `lambdas` of K, C and S; None for a weight of 0. whole_bytes: whether S takes part."""
    if not weight:
        return None
    lambda_k, _, lambda_s = lambdas
    return Composite(weight, lambda_k, lambda_s if whole_bytes else 0.0, torch.from_numpy(reference).float())


def composite_loss(found: Predictions, data: Tensor, term: Composite) -> Tensor:
    """[] weight · (1 − score), 0 … weight; `data`: the bytes of the batch. At least one λ that takes part is above 0."""
    score = term.lambda_k * negentropy(found.path_logits)
    if found.nodes is not None and term.lambda_s:
        counts = term.reference if term.reference.any() else torch.bincount(data.flatten(), minlength=256)
        score = score + term.lambda_s * symbiosis(byte_log_probs(found.nodes).exp().mean(dim=0), counts.to(found.nodes))
    return term.weight * (1 - score / (term.lambda_k + term.lambda_s))


def negentropy(logits: Tensor) -> Tensor:
    """K of bit logits, with a gradient: see `telemetry.metrics.negentropy_of_logits`."""
    entropy = F.softplus(logits) - logits * torch.sigmoid(logits)
    return 1 - entropy.mean() / math.log(2)


def symbiosis(probs: Tensor, counts: Tensor) -> Tensor:
    """S of a byte distribution [256] with byte counts [256], with a gradient: see `telemetry.metrics.symbiosis`."""
    q, r = probs.clamp_min(_LEAST), (counts / counts.sum()).clamp_min(_LEAST)
    middle = ((q + r) / 2).log()
    divergence = (q * (q.log() - middle) + r * (r.log() - middle)).sum() / 2
    return 1 - divergence / math.log(2)
