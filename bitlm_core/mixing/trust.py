"""How much a frozen mixer should leave to the network: a share of the network's own probability in the final one.

p = (1 − trust) · p_mixed + trust · p_network,   trust = k / 256, the k with the least cost on data new to both

Each bit of a byte has its own: a network that knows whether a capital comes may know little of which letter it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRUST_ONE = 256
CANDIDATES = np.arange(0, 248, 8)
SHARED_BYTES = 256
"""How many bytes the mean over all eight bits weighs in the choice for one of them: what holds where little was read."""


class CalibrationPart(NamedTuple):
    """Bytes [N] of one document, the logits [N, 8] of their bits by the network, and whether the document begins here."""

    data: NDArray[np.uint8]
    expert: NDArray[np.float32]
    begins: bool


def best_trust(parts: Sequence[CalibrationPart], frozen: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """[8] the trust per bit, in 1/256, with which the frozen mixer's logits [N, 8] and the network's together cost least."""
    if not parts:
        return np.zeros(8, np.int64)
    bits = np.concatenate([np.unpackbits(part.data[:, None], axis=1) for part in parts])
    mixed = _probability(np.concatenate(frozen), bits)
    network = _probability(np.concatenate([part.expert for part in parts]), bits)
    costs = np.array([-np.log(mixed + (network - mixed) * (k / TRUST_ONE)).sum(axis=0) for k in CANDIDATES])  # [candidates, 8]
    shared = costs.mean(axis=1, keepdims=True) * (SHARED_BYTES / len(bits))
    best: NDArray[np.int64] = CANDIDATES[np.argmin(costs + shared, axis=0)]
    return best


def _probability(logits: NDArray[np.float32], bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """P of the bits that came."""
    signed = np.where(bits == 1, logits, -logits).astype(np.float64)
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(signed, -12.6, 12.6)))
    return probability
