"""The mathematics of masking: schedules by hand, and the loss as an upper bound of a known model."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from bitlm_core.diffusion.corruption import bound_nats, hide_bytes
from bitlm_core.diffusion.schedule import Schedule, hidden_counts, visible_share


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [("linear", 0.5), ("cosine", math.sqrt(0.5)), ("exp", (math.exp(-2.5) - math.exp(-5)) / (1 - math.exp(-5)))],
)
def test_schedules_run_from_one_to_zero(schedule: str, middle: float) -> None:
    values = [visible_share(schedule, t / 100) for t in range(101)]  # type: ignore[arg-type]
    assert values[0] == 1.0 and values[100] == 0.0
    assert values[50] == pytest.approx(middle)
    assert values == sorted(values, reverse=True)


def test_the_number_hidden_is_uniform_and_stratified() -> None:
    data = torch.zeros(64, 16, dtype=torch.long)
    counts = hide_bytes(data, torch.Generator().manual_seed(0)).sum(dim=1)
    assert torch.bincount(counts, minlength=17).tolist() == [0] + [4] * 16


def test_hidden_places_are_equally_likely() -> None:
    data = torch.zeros(8000, 10, dtype=torch.long)
    share = hide_bytes(data, torch.Generator().manual_seed(1)).float().mean(dim=0)
    # Mean 0.55, standard deviation of a mean below 0.0056: six of them.
    assert (share - 0.55).abs().max() < 0.034


def test_the_bound_of_independent_bytes_is_their_entropy() -> None:
    nats = torch.full((100, 8), math.log(4))
    hidden = hide_bytes(nats.long(), torch.Generator().manual_seed(2))
    assert bound_nats(nats, hidden).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exp"])
@pytest.mark.parametrize(("steps", "num_bytes"), [(1, 1), (1, 50), (3, 4), (16, 128), (64, 64), (64, 1000)])
def test_every_step_reveals_something_and_the_last_one_the_rest(schedule: Schedule, steps: int, num_bytes: int) -> None:
    counts = hidden_counts(schedule, steps, num_bytes)
    assert len(counts) == steps and counts[-1] == 0
    assert all(before > after for before, after in pairwise([num_bytes, *counts]))
    if num_bytes == 128 and schedule != "exp":  # far from the limits, nothing but the schedule decides
        wanted = [round((1 - visible_share(schedule, 1 - step / steps)) * num_bytes) for step in range(1, steps + 1)]
        assert counts[: steps // 2] == wanted[: steps // 2]
