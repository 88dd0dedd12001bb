"""How well odd records are found by a context mixer that has learned normal ones alone.

Every record is a document; the training records are read in shuffled order, for neighbours resemble each other more than what
comes later does. The last fifth of them, in the order of the file, is held back until its costs are known: it is the future as
far as training goes, and so the reference for what is usual (`scoring.anomaly`); then it is learned too.

    auroc, average_precision     everything frozen
    streaming_…                  the test records one after the other: each scored, then learned unless suspicious
    length_auroc                 what the mere length of the records would reach
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.bench.labelled import Labelled
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import profile_of
from bitlm_core.scoring.anomaly import STATISTIC
from bitlm_core.scoring.ranking import auroc, average_precision
from bitlm_core.scoring.records import Costs
from bitlm_core.scoring.streaming import Streaming
from bitlm_core.scoring.watch import check_normal, learn_normal, record_costs


@dataclass(frozen=True)
class AnomalyReport(Report):
    """Rankings of the test records, and what they were made of; bits per byte of the normal ones among them, frozen."""

    auroc: float
    average_precision: float
    statistic: str
    streaming_auroc: float
    streaming_average_precision: float
    streaming_learned: int
    length_auroc: float
    bits_per_byte_normal: float
    train_records: int
    test_records: int
    test_odd: int
    cpu_seconds: float
    machine: str


def anomaly_steps(train: Labelled, test: Labelled, *, seed: int = 0) -> Iterator[float | AnomalyReport]:
    """Yields the share done now and then, and last the report.

    Raises ConfigError for fewer normal records than `scoring.watch.HELD_BACK`, or no records of one kind to rank.
    """
    normal = [np.frombuffer(record, np.uint8) for record in train.normal]
    records = [np.frombuffer(record, np.uint8) for record in test.records]
    check_normal(normal)
    lengths = np.array([len(record) for record in records], np.float64)
    by_length = auroc(lengths, test.odd)  # refuses labels of one kind before any work
    started = time.process_time()
    mixer = ContextMixer(MixingConfig(), profile_of(np.concatenate(normal), rows=False))
    reference, known = learn_normal(mixer, normal, seed)
    yield 0.3
    costs = Costs.of(record_costs(mixer, record, learn=False) for record in records)
    statistic = reference.statistic(costs)
    yield 0.5
    streaming = Streaming(mixer, reference, reference.peaks(known))
    judged = np.zeros(len(records))
    for number, record in enumerate(records):
        judged[number] = streaming.read([(record, None)]).statistic
        yield 0.5 + 0.5 * (number + 1) / len(records)
    usual = ~np.repeat(test.odd, costs.lengths)
    report = AnomalyReport(
        **_ranked(statistic, test.odd),
        statistic=STATISTIC,
        **{f"streaming_{name}": figure for name, figure in _ranked(judged, test.odd).items()},
        streaming_learned=streaming.num_learned,
        length_auroc=by_length,
        bits_per_byte_normal=float(costs.bits[usual].mean()) if usual.any() else 0.0,
        train_records=len(normal),
        test_records=len(records),
        test_odd=int(test.odd.sum()),
        cpu_seconds=time.process_time() - started,
        machine=describe(),
    )
    yield report


def _ranked(statistic: NDArray[np.float64], odd: NDArray[np.bool_]) -> dict[str, Any]:
    return {"auroc": auroc(statistic, odd), "average_precision": average_precision(statistic, odd)}
