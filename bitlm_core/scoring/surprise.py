"""Surprise: what each byte costs in bits, −log₂ p(byte | bytes before it), and where it is large.

N bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from bitlm_core.scoring.records import Costs

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
    sums = np.concatenate([np.zeros(1), np.cumsum(surprise, dtype=np.float64)])
    parts = [_part(sums, int(begin), int(end)) for begin, end in _richest(surprise, spans, top)]
    heapify(parts)
    found: list[Span] = []
    while parts and len(found) < top:
        *_, taken, begin, end = heappop(parts)
        found.append(taken)
        for rest in ((begin, taken.offset), (taken.offset + taken.num_bytes, end)):
            if rest[0] < rest[1]:
                heappush(parts, _part(sums, *rest))
    return found


def _richest(surprise: Surprise, spans: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """The records that can hold the `top` most surprising spans: those whose best one is among the `top` best."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    costs = Costs.within(surprise, spans)
    bits = costs.peaks(SPAN_BYTES) * np.minimum(costs.lengths, SPAN_BYTES)
    return spans[np.argsort(-bits.round(6), kind="stable")[:top]]  # rounded: equal ones shall be equal, the earlier first


def _part(sums: NDArray[np.float64], begin: int, end: int) -> tuple[float, int, Span, int, int]:
    """Bytes that may be taken, by their best span: the largest first, of equal ones the earlier."""
    best = _best(sums, begin, end)
    return -best.bits, best.offset, best, begin, end


def _best(sums: NDArray[np.float64], begin: int, end: int) -> Span:
    """The largest window of [begin, end); the first of several."""
    size = min(SPAN_BYTES, end - begin)
    windows = sums[begin + size : end + 1] - sums[begin : end + 1 - size]
    at = int(np.argmax(windows))
    return Span(begin + at, size, float(windows[at]))
