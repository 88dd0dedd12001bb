"""How much a frozen mixer should leave to the network: a share of the network's own probability in the final one.

p = (1 − trust) · p_mixed + trust · p_network,   trust = k / 256, the k with the least cost on data new to both
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRUST_ONE = 256
CANDIDATES = range(0, 192, 8)


class CalibrationPart(NamedTuple):
    """Bytes [N] of one document, the logits [N, 8] of their bits by the network, and whether the document begins here."""

    data: NDArray[np.uint8]
    expert: NDArray[np.float32]
    begins: bool


def best_trust(parts: Sequence[CalibrationPart], frozen: Sequence[NDArray[np.float32]]) -> int:
    """The trust, in 1/256, with which the frozen mixer's logits [N, 8] and the network's together cost least."""
    if not parts:
        return 0
    bits = np.concatenate([np.unpackbits(part.data[:, None], axis=1) for part in parts])
    mixed = _probability(np.concatenate(frozen), bits)
    network = _probability(np.concatenate([part.expert for part in parts]), bits)
    costs = [-float(np.log(mixed + (network - mixed) * (k / TRUST_ONE)).sum()) for k in CANDIDATES]
    return CANDIDATES[int(np.argmin(costs))]


def _probability(logits: NDArray[np.float32], bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """P of the bits that came."""
    signed = np.where(bits == 1, logits, -logits).astype(np.float64)
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(signed, -12.6, 12.6)))
    return probability
