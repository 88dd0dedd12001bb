"""Records that come one after the other: each is scored, then learned, unless it is suspicious.

A stream drifts (counters count, new kinds of records appear), so a model that learns on ranks better than a frozen one; but
it must not learn what it should find, or the second of two anomalies is normal. So what decides is the *frozen* model, whose
view no burst can change: a record is suspicious when a short window of it costs more, above what is usual, than
median + 2 · (median − 5 % quantile) of the last records. Only the lower half measures the spread: odd ones cannot widen it.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.scoring.anomaly import COLUMNS, LENGTHS, Reference
from bitlm_core.scoring.records import Costs, Floats
from bitlm_core.scoring.surprise import byte_surprise

MEMORY_RECORDS = 512
"""How many of the last records say what is suspicious; so many odd ones in a row as half of these are still found."""
WARM_UP_RECORDS = 32
"""Before so many are known, none is learned."""
USUAL_RECORDS = 50
"""Over how many learned records what is usual moves on."""

_LOW, _FAR = 0.05, 2.0
_LEAST_SPREAD = 0.25  # bits: below that, rounding would decide

Part = tuple[NDArray[np.uint8], NDArray[np.float32] | None]
"""Bytes of a record, and what the network says of their bits."""


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
    """A mixer's copy that learns from a stream of records, and how odd each was when it came."""

    def __init__(self, mixer: ContextMixer, reference: Reference, known_peaks: Floats | None = None) -> None:
        """`known_peaks`: those of records before the stream, under `reference`."""
        self._frozen, self._learning = mixer.copy(), mixer.copy()
        self._fixed, self._moving = reference, reference
        self._gate = Gate(known_peaks)
        self._statistics: list[float] = []
        self.num_learned = 0

    @property
    def statistics(self) -> Floats:
        """[R] of the records so far."""
        return np.array(self._statistics)

    def read(self, record: list[Part]) -> NDArray[np.float32]:
        """Score a record, then learn it unless it is suspicious; its surprise [N] when it came."""
        surprise = _surprise(self._learning, record)
        costs = Costs.of([surprise])
        self._statistics.append(float(self._moving.statistic(costs)[0]))
        frozen = self._fixed.peaks(Costs.of([_surprise(self._frozen, record)]))[0]
        if not self._gate.suspects(frozen):
            self._learn(record, costs)
        return surprise

    def _learn(self, record: list[Part], costs: Costs) -> None:
        self._learning.start_document()
        for data, expert in record:
            self._learning.read(data, expert, learn=True)
        self.num_learned += 1
        usual = self._moving.usual.copy()
        seen = min(len(costs.bits), COLUMNS)
        usual[:seen] += (costs.bits[:seen] - usual[:seen]) / USUAL_RECORDS
        self._moving = Reference(usual, self._moving.mean, self._moving.spread)


def _surprise(mixer: ContextMixer, record: list[Part]) -> NDArray[np.float32]:
    mixer.start_document()
    rows = [byte_surprise(mixer.read(data, expert, learn=False), data) for data, expert in record]
    return np.concatenate([np.zeros(0, np.float32), *rows])
