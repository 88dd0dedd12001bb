"""Records that come one after the other: each is scored, then learned, unless it is suspicious.

A stream drifts (counters count, new kinds of records appear), so a model that learns on ranks better than a frozen one; but
it must not learn what it should find, or the second of two anomalies is normal. So what decides is the *frozen* model, whose
view no burst can change: a record is suspicious when a short window of it costs more, above what is usual, than
median + 1.75 · (median − 5 % quantile) of the last records. Only the lower half measures the spread: odd ones cannot widen it.
What is usual for the frozen model follows the stream in small steps, so that a field that has moved on for good is no longer
suspicious, while a burst is over before it is usual.

The statistic is mostly the learning model's; a third of it stays the frozen one's, for what a gate has let through by mistake.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.scoring.anomaly import LENGTHS, Reference
from bitlm_core.scoring.records import Costs, Floats
from bitlm_core.scoring.surprise import byte_surprise

MEMORY_RECORDS = 512
"""How many of the last records say what is suspicious; so many odd ones in a row as half of these are still found."""
WARM_UP_RECORDS = 32
"""Before so many are known, none is learned."""
USUAL_RECORDS = 50
"""Over how many learned records what is usual for the learning model moves on."""
DRIFT_RECORDS, DRIFT_BITS = 100, 2.0
"""For the frozen model: over how many records of any kind, and how much of a difference counts at most."""
FROZEN_SHARE = 1 / 3
"""Of the statistic."""

_LOW, _FAR = 0.05, 1.75
_LEAST_SPREAD = 0.25  # bits: below that, rounding would decide

Part = tuple[NDArray[np.uint8], NDArray[np.float32] | None]
"""Bytes of a record, and what the network says of their bits."""


@dataclass(frozen=True)
class Judged:
    """A record when it came: how odd it was, the surprise [N] of its bytes in bits, and whether it was learned then."""

    statistic: float
    surprise: NDArray[np.float32]
    learned: bool


class Gate:
    """Whether a record may be learned, by the excess of its short windows under the frozen model."""

    def __init__(self, peaks: Floats | None = None) -> None:
        """`peaks` [R, scales]: of records that are known already, in the order in which they came."""
        rows = [] if peaks is None else list(peaks[-MEMORY_RECORDS:, : len(LENGTHS)])
        self._recent: deque[Floats] = deque(rows, maxlen=MEMORY_RECORDS)

    def suspects(self, peaks: Floats) -> bool:
        """Judge a record by its `peaks` [scales], and remember them whatever comes of it."""
        short = peaks[: len(LENGTHS)]
        self._recent.append(short)
        if len(self._recent) < WARM_UP_RECORDS:
            return True
        low, median = np.quantile(np.array(self._recent), [_LOW, 0.5], axis=0)
        return bool((short > median + _FAR * np.maximum(median - low, _LEAST_SPREAD)).any())


class Streaming:
    """A mixer's copy that learns from a stream of records, however long, and says how odd each was when it came."""

    def __init__(self, mixer: ContextMixer, reference: Reference, known_peaks: Floats | None = None) -> None:
        """`known_peaks`: those of records before the stream, under `reference`."""
        self._frozen, self._learning = mixer.copy(), mixer.copy()
        self._fixed, self._drifting, self._moving = reference, reference, reference
        self._gate = Gate(known_peaks)
        self.num_learned = 0

    def read(self, record: list[Part]) -> Judged:
        """Score a record, then learn it unless it is suspicious."""
        surprise = _surprise(self._learning, record)
        costs, frozen = Costs.of([surprise]), Costs.of([_surprise(self._frozen, record)])
        own, before = self._moving.statistic(costs)[0], self._fixed.statistic(frozen)[0]
        suspicious = self._gate.suspects(self._drifting.peaks(frozen)[0])
        self._drifting = self._drifting.moved(frozen, DRIFT_RECORDS, DRIFT_BITS)
        if not suspicious:
            self._learn(record)
            self._moving = self._moving.moved(costs, USUAL_RECORDS)
        return Judged(float((1 - FROZEN_SHARE) * own + FROZEN_SHARE * before), surprise, not suspicious)

    def _learn(self, record: list[Part]) -> None:
        self._learning.start_document()
        for data, expert in record:
            self._learning.read(data, expert, learn=True)
        self.num_learned += 1


def _surprise(mixer: ContextMixer, record: list[Part]) -> NDArray[np.float32]:
    mixer.start_document()
    rows = [byte_surprise(mixer.read(data, expert, learn=False), data) for data, expert in record]
    return np.concatenate([np.zeros(0, np.float32), *rows])
