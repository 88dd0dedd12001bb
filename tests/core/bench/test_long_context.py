"""The cost of positions in long contexts, here in short ones."""

from __future__ import annotations

import pytest

from bitlm_core.bench.cases import grid
from bitlm_core.bench.long_context import LENGTHS, LongCost, long_costs
from bitlm_core.models.config import MAX_POSITIONS


@pytest.mark.parametrize("architecture", ["byte", "bit"])
def test_memory_per_position_is_the_same_at_every_length(architecture: str) -> None:
    fixed = {"d_model": 32, "nhead": 1, "chunk_size": 32, "reversible": True}
    (case,) = grid("tiny", architecture, {}, fixed)  # type: ignore[arg-type]
    *shares, costs = long_costs(case, rounds=2, lengths=(144, 576))
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert isinstance(costs, list) and all(isinstance(cost, LongCost) for cost in costs)
    assert [cost.positions for cost in costs] == [144, 576]
    assert all(cost.train_us > 0 and cost.answer_us > 0 for cost in costs)
    assert costs[1].bytes_per_position <= 1.2 * costs[0].bytes_per_position


def test_the_lengths_are_those_that_windows_may_have() -> None:
    assert LENGTHS[0] == 4096 and LENGTHS[-1] == MAX_POSITIONS
