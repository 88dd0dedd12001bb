"""AUROC and average precision against their definitions, by brute force, with many ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.errors import ConfigError
from bitlm_core.scoring.ranking import auroc, average_precision

LABELLED = st.lists(st.tuples(st.integers(-2, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({odd for _, odd in rows}) == 2
)


def split(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    return np.array([float(value) for value, _ in rows]), np.array([odd for _, odd in rows])


@settings(derandomize=True, deadline=None)
@given(LABELLED)
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    pairs = [(value > other) + 0.5 * (value == other) for value, odd in rows if odd for other, one in rows if not one]
    assert auroc(*split(rows)) == pytest.approx(sum(pairs) / len(pairs))


@settings(derandomize=True, deadline=None)
@given(LABELLED)
def test_average_precision_is_the_sum_over_thresholds(rows: list[tuple[int, bool]]) -> None:
    total, before, num_odd = 0.0, 0.0, sum(odd for _, odd in rows)
    for threshold in sorted({value for value, _ in rows}, reverse=True):
        taken = [odd for value, odd in rows if value >= threshold]
        recall = sum(taken) / num_odd
        total, before = total + (recall - before) * sum(taken) / len(taken), recall
    assert average_precision(*split(rows)) == pytest.approx(total)


def test_a_perfect_order_and_its_reverse() -> None:
    odd = np.array([False, False, True, True])
    assert (auroc(np.arange(4.0), odd), average_precision(np.arange(4.0), odd)) == (1.0, 1.0)
    assert auroc(-np.arange(4.0), odd) == 0.0


@pytest.mark.parametrize("label", [False, True])
def test_one_kind_cannot_be_ranked(label: bool) -> None:
    for measure in (auroc, average_precision):
        with pytest.raises(ConfigError, match="both kinds"):
            measure(np.arange(3.0), np.full(3, label))
