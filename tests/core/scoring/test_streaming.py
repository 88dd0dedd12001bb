"""Streams: drift is learned, bursts of odd records are not."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.scoring.anomaly import Reference
from bitlm_core.scoring.records import Costs
from bitlm_core.scoring.streaming import MEMORY_RECORDS, WARM_UP_RECORDS, Gate, Judged, Streaming
from bitlm_core.scoring.surprise import byte_surprise


def lines(count: int, seed: int, host: str = "alpha") -> list[bytes]:
    random = np.random.default_rng(seed)
    return [f"{host} job {random.integers(10, 99)} finished in {random.integers(10, 99)} ms\n".encode() for _ in range(count)]


def costs(mixer: ContextMixer, records: list[bytes], *, learn: bool) -> Costs:
    rows = []
    for record in records:
        mixer.start_document()
        data = np.frombuffer(record, np.uint8)
        rows.append(byte_surprise(mixer.read(data, learn=learn), data))
    return Costs.of(rows)


def streaming(records: list[bytes]) -> list[Judged]:
    mixer = ContextMixer(MixingConfig(memory_mib=8))
    known = costs(mixer, lines(300, 1), learn=True)
    reference = Reference.of(costs(mixer, lines(60, 2), learn=False))
    stream = Streaming(mixer, reference, reference.peaks(known)[150:])
    return [stream.read([(np.frombuffer(record, np.uint8), None)]) for record in records]


def test_nothing_is_learned_before_enough_is_known() -> None:
    gate = Gate()
    assert [gate.suspects(np.zeros(2)) for _ in range(WARM_UP_RECORDS)] == [True] * (WARM_UP_RECORDS - 1) + [False]


def test_the_gate_is_as_wide_as_the_lower_half_of_what_came() -> None:
    gate = Gate(np.tile(np.arange(101.0)[:, None] / 10, (5, 3)))
    known = np.tile(np.arange(101.0) / 10, 5)
    low, median = np.quantile([*known, 12.8], [0.05, 0.5])
    assert median + 1.75 * (median - low) == pytest.approx(12.8, abs=0.1)
    assert not gate.suspects(np.array([12.5, 0.0, 99.0]))  # the whole record does not decide
    assert gate.suspects(np.array([0.0, 13.1, 0.0]))


def test_the_gate_forgets_and_is_not_widened_by_a_burst() -> None:
    normal, odd = np.ones((MEMORY_RECORDS, 2)), np.array([9.0, 9.0])
    gate = Gate(normal)
    assert all(gate.suspects(odd) for _ in range(MEMORY_RECORDS // 2 - 1))
    assert [gate.suspects(odd) for _ in range(MEMORY_RECORDS)][-1] is False  # by now it is what all of it is like


def test_a_burst_of_odd_records_stays_odd() -> None:
    odd = [b"alpha job 12 KILLED by signal 9\n"] * 20
    stream = streaming([*lines(40, 3), *odd, *lines(20, 4)])
    found = np.array([judged.statistic for judged in stream])
    assert found[40:60].min() > np.concatenate([found[:40], found[60:]]).max()
    assert found[59] > 0.9 * found[40]
    assert 40 <= sum(judged.learned for judged in stream) <= 60


def test_drift_is_learned_where_a_frozen_model_never_would() -> None:
    drifted = lines(120, 5, host="alphb")  # one byte is another from now on
    mixer = ContextMixer(MixingConfig(memory_mib=8))
    reference = Reference.of(costs(mixer, lines(60, 2), learn=False))
    stream = Streaming(mixer, reference)
    cost = [float(stream.read([(np.frombuffer(record, np.uint8), None)]).surprise.mean()) for record in drifted]
    assert cost[WARM_UP_RECORDS - 2] == pytest.approx(cost[0], abs=1.0) and max(cost[-20:]) < 0.5 * cost[0]
    assert stream.num_learned > 60


def test_a_stream_leaves_its_mixer_as_it_was() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8))
    costs(mixer, lines(50, 1), learn=True)
    before = mixer.state_arrays()
    stream = Streaming(mixer, Reference.of(costs(mixer, lines(50, 2), learn=False)))
    for record in lines(50, 3):
        stream.read([(np.frombuffer(record, np.uint8), None)])
    mixer.start_document()
    after = mixer.state_arrays()
    assert stream.num_learned > 0
    assert all((before[name] == after[name]).all() for name in ("slots", "runs", "weights", "history"))
