"""Costs of records against plain twins, what is usual, and what the statistic finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.scoring.anomaly import COLUMNS, Reference, usual_bits
from bitlm_core.scoring.records import Costs

ROWS = st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=9)


def costs_of(rows: list[list[int]]) -> Costs:
    return Costs.of(np.array(row, np.float32) for row in rows)


@settings(derandomize=True, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_means_and_peaks_are_those_of_each_record_alone(rows: list[list[int]], size: int) -> None:
    means = [sum(row) / len(row) if row else 0.0 for row in rows]
    peaks = [
        max(sum(row[at : at + size]) / size for at in range(len(row) - size + 1)) if len(row) >= size else mean
        for row, mean in zip(rows, means, strict=True)
    ]
    costs = costs_of(rows)
    assert costs.means().tolist() == pytest.approx(means)
    assert costs.peaks(size).tolist() == pytest.approx(peaks)
    assert costs.columns.tolist() == [column for row in rows for column in range(len(row))]


def test_records_within_a_larger_row() -> None:
    costs = Costs.within(np.arange(10, dtype=np.float32), np.array([[1, 3], [3, 3], [6, 9]]))
    assert costs.bits.tolist() == [1, 2, 6, 7, 8] and costs.lengths.tolist() == [2, 0, 3]


def test_usual_is_the_mean_of_the_cheapest_nine_tenths_drawn_to_all() -> None:
    rows = [[1, 9]] * 18 + [[30, 9]] * 2
    average = (18 * 1 + 18 * 9) / 36  # the dearest tenth of all forty bytes are two of 30 and two of 9
    usual = usual_bits(costs_of(rows))
    assert usual[:2] == pytest.approx([(20 * 1 + 8 * average) / 28, (20 * 9 + 8 * average) / 28])
    assert usual[2:] == pytest.approx(np.full(COLUMNS - 1, average))


def test_all_late_bytes_share_one_usual_cost() -> None:
    long = Costs.of([np.concatenate([np.zeros(COLUMNS), np.full(500, 7)]).astype(np.float32)])
    average = (347 * 7.0) / 1371  # of the cheapest nine tenths of 1,524 bytes
    usual = usual_bits(long)
    assert usual[COLUMNS] == pytest.approx((500 * 7 + 8 * average) / 508)
    assert usual[:COLUMNS] == pytest.approx(np.full(COLUMNS, 8 * average / 9))


def test_surprise_where_it_is_usual_does_not_count() -> None:
    random = np.random.default_rng(5)
    noisy = [[0.1, *random.normal(16, 1, 2), 0.1, 0.1, 0.1] for _ in range(200)]
    odd = [0.1, 16, 16, 0.1, 14, 0.1]  # its dearest byte is cheaper than what the clock costs in all
    statistic = Reference.of(costs_of([*noisy, odd])).statistic(costs_of([*noisy, odd]))
    assert int(statistic.argmax()) == 200 and statistic[200] > 2 * np.sort(statistic)[-2]


def test_each_scale_finds_its_kind() -> None:
    random = np.random.default_rng(6)
    normal = [list(random.uniform(0, 2, 40)) for _ in range(200)]
    spike = [*random.uniform(0, 2, 20), 9.0, *random.uniform(0, 2, 19)]
    foreign = list(random.uniform(1, 3, 40))  # no byte stands out, all together do
    statistic = Reference.of(costs_of(normal)).statistic(costs_of([spike, foreign]))
    assert (statistic > Reference.of(costs_of(normal)).statistic(costs_of(normal)).max()).all()


def test_a_minority_of_odd_records_does_not_become_usual() -> None:
    rows = [[1.0, 1.0, 1.0]] * 95 + [[1.0, 20.0, 1.0]] * 5
    statistic = Reference.of(costs_of(rows)).statistic(costs_of(rows))
    assert statistic[95:].min() > statistic[:95].max() + 2


def test_without_records_nothing_is_usual() -> None:
    nothing = Reference.of(costs_of([]))
    assert nothing.statistic(costs_of([[3, 5]])).tolist() == [5.0]
    assert nothing.statistic(costs_of([])).tolist() == []
