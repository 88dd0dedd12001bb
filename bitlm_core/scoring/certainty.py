"""How sure predictions were, and how often they were right: figures that need no labels but the data itself.

Of path logits: each data bit is predicted from all bits before it, those of its own byte included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Certainty:
    """Adds up over windows; `figures` is what it comes to. The confidence of a bit is the probability of its likelier value.

    Where both values are as likely, 0 is what is told.
    """

    def __init__(self) -> None:
        self._bytes = self._bits_right = self._bytes_right = 0
        self._sum, self._least, self._most = 0.0, 1.0, 0.5

    def add(self, logits: NDArray[np.float32], data: NDArray[np.uint8]) -> None:
        """Logits [N, 8] of a 1, and the bytes [N] that came."""
        if not len(data):
            return
        right = (logits > 0) == np.unpackbits(data[:, None], axis=1)
        sure = 1 / (1 + np.exp(-np.abs(logits.astype(np.float64))))
        self._bytes += len(data)
        self._bits_right += int(right.sum())
        self._bytes_right += int(right.all(axis=1).sum())
        self._sum += float(sure.sum())
        self._least, self._most = min(self._least, float(sure.min())), max(self._most, float(sure.max()))

    def figures(self) -> dict[str, float]:
        """`accuracy`: share of bits told right; `byte_accuracy`: of bytes all of whose bits were; `confidence_mean`, `_min`
        and `_max`: 0.5 … 1. Nothing where nothing was added."""
        if not self._bytes:
            return {}
        return {
            "accuracy": self._bits_right / (8 * self._bytes),
            "byte_accuracy": self._bytes_right / self._bytes,
            "confidence_mean": self._sum / (8 * self._bytes),
            "confidence_min": self._least,
            "confidence_max": self._most,
        }
