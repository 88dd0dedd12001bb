"""Scoring by records: what every byte costs, what every record costs, and which of them are odd.

Each record is a document of its own: nothing is predicted from the one before it. Two protocols:

    static      everything frozen; a record is judged beside all records that are scored (see `anomaly`)
    adaptive    the context mixer learns on: of several records, from each after it was scored, unless it is suspicious (see
                `streaming`); of a single one, from each byte after it was scored
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bitlm_core.device import SHARE_OF_FREE, free_memory_bytes
from bitlm_core.errors import ConfigError, ModelStateError, ResourceLimitError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.expert import expert_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import profile_of
from bitlm_core.mixing.windows import Window, document_windows
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.anomaly import Reference
from bitlm_core.scoring.certainty import Certainty
from bitlm_core.scoring.likelihood import Likelihood, Readings, score_steps
from bitlm_core.scoring.records import WINDOW_BYTES, Costs, Floats
from bitlm_core.scoring.streaming import Part, Streaming
from bitlm_core.scoring.surprise import Span, Surprise, byte_surprise, top_spans
from bitlm_core.steps import scaled

Result = TypeVar("Result")

_PASSES = 2  # of an adaptive score of several records: frozen, then streaming
_CHUNK = 1 << 16
_WORKING_BYTES = 64  # per byte of data, while statistics are worked out


@dataclass(frozen=True)
class RecordScore:
    """One record: where it is; its mean, largest byte and largest short window in bits per byte; how odd; rank 1 = oddest."""

    record: int
    offset: int
    num_bytes: int
    bits_per_byte: float
    max_bits: float
    window_bits: float
    statistic: float
    rank: int


@dataclass(frozen=True)
class Score:
    """surprise [N] of the data's bytes; spans [R, 2] and statistics [R] of its records; num_learned: in a stream.

    likelihood: bits per byte; where there is no model but the fresh mixer, `network` and `static` are 8, for nothing is known.
    """

    surprise: Surprise
    spans: NDArray[np.int64]
    statistics: Floats
    likelihood: Likelihood
    num_learned: int | None = None

    def bounded(self, bits_per_byte: float) -> Score:
        """The same with this bound in the likelihood."""
        return replace(self, likelihood=self.likelihood.bounded(bits_per_byte))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The records, the oddest first; of equal ones the earlier."""
        return np.argsort(-self.statistics, kind="stable")

    def top_records(self, top: int) -> list[RecordScore]:
        """The `top` oddest records."""
        chosen = self.order[:top]
        rows = [self.surprise[begin:end] for begin, end in self.spans[chosen]]
        costs = Costs.of(rows)
        means, largest, windows = costs.means(), costs.peaks(1), costs.peaks(WINDOW_BYTES)
        return [
            RecordScore(
                record=int(record),
                offset=int(self.spans[record, 0]),
                num_bytes=len(rows[at]),
                bits_per_byte=float(means[at]),
                max_bits=float(largest[at]),
                window_bits=float(windows[at]),
                statistic=float(self.statistics[record]),
                rank=at + 1,
            )
            for at, record in enumerate(chosen)
        ]

    def top_spans(self, top: int) -> list[Span]:
        """The `top` most surprising places, see `surprise.top_spans`."""
        return top_spans(self.surprise, self.spans, top)


def record_score_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    spans: NDArray[np.int64],
    *,
    adaptive: bool,
) -> Generator[float, None, Score]:
    """Score the records `spans` [R, 2] of `data`, yielding the share done.

    Raises ConfigError for no bytes, ModelStateError when it is to adapt and there is no context mixing, and
    ResourceLimitError for more data than there is memory for.
    """
    if adaptive and mixer is None:
        raise ModelStateError("this model has no context mixing, so nothing in it can adapt: score without adaptive")
    stream = adaptive and len(spans) > 1
    surprise = _room(data)

    def observe(window: Window, read: Readings) -> None:
        logits = read.online if adaptive and not stream else read.static
        surprise[window.predicted : window.end] = byte_surprise(logits, data[window.predicted : window.end])

    share = 1 / _PASSES if stream else 1.0
    scoring = score_steps(model, mixer, data, map(tuple, spans.tolist()), observe)
    likelihood = yield from scaled(scoring, 0.0, share)
    costs = Costs.within(surprise, spans)
    reference = Reference.of(costs)
    if not stream or mixer is None:
        return Score(surprise, spans, reference.statistic(costs), likelihood)
    streaming = Streaming(mixer, reference)
    statistics = yield from scaled(_stream_steps(model, streaming, data, spans, surprise), share, 1.0)
    return Score(surprise, spans, statistics, likelihood, streaming.num_learned)


def self_score_steps(data: NDArray[np.uint8], spans: NDArray[np.int64]) -> Generator[float, None, Score]:
    """Score records with nothing but themselves: a mixer that begins fresh, and learns from each byte after it was scored.

    Raises ConfigError for no bytes, and ResourceLimitError for more data than there is memory for.
    """
    if not int((spans[:, 1] - spans[:, 0]).sum()):
        raise ConfigError("there are no bytes to score (0 bytes in all records, at least 1): give some data")
    surprise = _room(data)
    mixer, certainty = ContextMixer(MixingConfig(), profile_of(data, rows=len(spans) < 2)), Certainty()
    for begin, end in spans.tolist():
        mixer.start_document()
        for start in range(begin, end, _CHUNK):
            part = np.ascontiguousarray(data[start : min(end, start + _CHUNK)])
            logits = mixer.read(part)
            certainty.add(logits, part)
            surprise[start : start + len(part)] = byte_surprise(logits, part)
            yield (start + len(part)) / len(data)
    costs = Costs.within(surprise, spans)
    online = float(costs.bits.mean())
    likelihood = Likelihood(online, 8.0, 8.0, len(costs.bits), len(spans), **certainty.figures())
    return Score(surprise, spans, Reference.of(costs).statistic(costs), likelihood)


def _room(data: NDArray[np.uint8]) -> Surprise:
    limit = int(SHARE_OF_FREE * free_memory_bytes()) // _WORKING_BYTES
    if len(data) > limit:
        raise ResourceLimitError(
            f"there is memory for scoring {limit:,} bytes at a time, and these are {len(data):,}: score a part of them",
            estimate=len(data),
            limit=limit,
        )
    return np.zeros(len(data), np.float32)


def _stream_steps(
    model: LanguageModel | None, streaming: Streaming, data: NDArray[np.uint8], spans: NDArray[np.int64], surprise: Surprise
) -> Generator[float, None, Floats]:
    """Read record by record, writing what each byte cost into `surprise`; the statistics [R]."""
    statistics = np.zeros(len(spans))
    windows = expert_path_logits(model, data, document_windows(map(tuple, spans.tolist()), window_bytes(model)))
    for number, (begin, end) in enumerate(spans.tolist()):
        record: list[Part] = []
        read = begin
        while read < end:
            window, logits = next(windows)
            record.append((np.ascontiguousarray(data[window.predicted : window.end]), logits))
            read = window.end
        judged = streaming.read(record)
        surprise[begin:end], statistics[number] = judged.surprise, judged.statistic
        yield end / len(data)
    return statistics
