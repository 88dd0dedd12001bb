"""Surprise: what each byte costs in bits, −log₂ p(byte | bytes before it), and where it is large.

N bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Surprise = NDArray[np.float32]
"""[N] bits; 0 where a byte was not scored."""

SPAN_BYTES = 16
"""How long a span is."""


@dataclass(frozen=True)
class Span:
    """Bytes [offset, offset + num_bytes) of the data; `bits` is their surprise together."""

    offset: int
    num_bytes: int
    bits: float


def byte_surprise(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> Surprise:
    """[N] bits from [N, 8] path logits (p of a 1) and the [N] bytes."""
    bits = np.unpackbits(data[:, None], axis=1)
    against = np.where(bits == 1, -logits, logits).astype(np.float64)
    found: Surprise = (np.logaddexp(0.0, against).sum(axis=1) / math.log(2)).astype(np.float32)
    return found


def top_spans(surprise: Surprise, spans: NDArray[np.int64], top: int) -> list[Span]:
    """The `top` most surprising spans, the largest first: each inside one record (`spans` [R, 2]), none over another.

    Each next one is the largest window that touches none before it. A span shorter than a window is a short record, or lies
    between two that were taken.
    """
    free = [(int(begin), int(end)) for begin, end in spans[spans[:, 1] > spans[:, 0]]]
    sums = np.concatenate([np.zeros(1), np.cumsum(surprise, dtype=np.float64)])
    best = [_best(sums, begin, end) for begin, end in free]
    found: list[Span] = []
    while best and len(found) < top:
        at = max(range(len(best)), key=lambda index: (best[index].bits, -best[index].offset))
        taken, (begin, end) = best.pop(at), free.pop(at)
        found.append(taken)
        for part in ((begin, taken.offset), (taken.offset + taken.num_bytes, end)):
            if part[0] < part[1]:
                free.append(part)
                best.append(_best(sums, *part))
    return found


def _best(sums: NDArray[np.float64], begin: int, end: int) -> Span:
    """The largest window of [begin, end); the first of several."""
    size = min(SPAN_BYTES, end - begin)
    windows = sums[begin + size : end + 1] - sums[begin : end + 1 - size]
    at = int(np.argmax(windows))
    return Span(begin + at, size, float(windows[at]))
