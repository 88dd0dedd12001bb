"""A simple integer range coder over bits (carry-less, 32 bits, as in the PAQ family), driven by node logits."""

from __future__ import annotations

import math

import numpy as np

TOP = 0xFFFF_FFFF


def probability(logit: np.float32) -> int:
    """P(bit = 1) in 1/65536, never 0 or 65536."""
    p = 1 / (1 + math.exp(-float(logit)))
    return min(65535, max(1, round(p * 65536)))


class Encoder:
    """Writes bytes, most significant bit first."""

    def __init__(self) -> None:
        self._low, self._high, self._out = 0, TOP, bytearray()

    def write(self, byte: int, node_logits: np.ndarray) -> None:
        node = 1
        for shift in range(7, -1, -1):
            bit = byte >> shift & 1
            middle = self._low + ((self._high - self._low) * probability(node_logits[node]) >> 16)
            self._low, self._high = (self._low, middle) if bit else (middle + 1, self._high)
            while (self._low ^ self._high) >> 24 == 0:
                self._out.append(self._high >> 24)
                self._low, self._high = self._low << 8 & TOP, (self._high << 8 & TOP) | 255
            node = node << 1 | bit

    def finish(self) -> bytes:
        # One byte above `low` lies inside the interval; the decoder reads zeros behind it.
        self._out.append((self._low >> 24) + 1)
        return bytes(self._out)


class Decoder:
    """Reads them back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._next = data + bytes(8), 4
        self._low, self._high, self._code = 0, TOP, int.from_bytes(self._data[:4], "big")

    def read(self, node_logits: np.ndarray) -> int:
        node = 1
        while node < 256:
            middle = self._low + ((self._high - self._low) * probability(node_logits[node]) >> 16)
            bit = int(self._code <= middle)
            self._low, self._high = (self._low, middle) if bit else (middle + 1, self._high)
            while (self._low ^ self._high) >> 24 == 0:
                self._low, self._high = self._low << 8 & TOP, (self._high << 8 & TOP) | 255
                self._code = (self._code << 8 & TOP) | (self._data[self._next] if self._next < len(self._data) else 0)
                self._next += 1
            node = node << 1 | bit
        return node & 255
