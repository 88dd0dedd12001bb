"""Grids of cases: every combination once, named by what differs, refused before anything runs."""

from __future__ import annotations

import pytest

from bitlm_core import ConfigError, TrainingConfig, preset_config
from bitlm_core.bench.cases import grid


def test_a_grid_holds_every_combination_once() -> None:
    ranges = {"reversible": [True, False], "chunk_size": [16, 0], "threads": [1, 2], "batch_size": [3]}
    cases = list(grid("tiny", "byte", ranges, {"max_seq_len": 64}))
    assert len(cases) == 8
    assert {(case.model.reversible, case.model.chunk_size, case.threads) for case in cases} == {
        (reversible, chunk, threads) for reversible in (True, False) for chunk in (16, None) for threads in (1, 2)
    }
    assert all(case.training.batch_size == 3 and case.model.max_seq_len == 64 for case in cases)
    assert all(case.named.keys() == {"reversible", "chunk_size", "threads"} for case in cases)


def test_what_is_not_given_is_as_the_preset_has_it() -> None:
    (case,) = grid("tiny", "byte", {"max_seq_len": [None], "chunk_size": [None], "batch_size": [None]})
    assert (case.model, case.training, case.threads, case.named) == (preset_config("tiny"), TrainingConfig(), 1, {})


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ({"batch_size": [4, 0]}, "batch_size=0"),
        ({"max_seq_len": [64, 5]}, "max_seq_len=5"),
        ({"threads": [0]}, "threads=0"),
        ({"reversible": [True], "use_checkpoint": [True]}, "choose one of them"),
    ],
)
def test_what_does_not_fit_is_refused(ranges: dict[str, list[int]], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        list(grid("tiny", "byte", ranges))
