"""The mathematics of masking: schedules by hand, and the loss as an upper bound of a known model."""

from __future__ import annotations

import math

import pytest
import torch

from bitlm_core.diffusion.corruption import bound_nats, hidden_nats, hide
from bitlm_core.diffusion.schedule import Masking, least_hidden, visible_share
from bitlm_core.models.output import conditioned_log_probs, path_bits


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [("linear", 0.5), ("cosine", math.sqrt(0.5)), ("exp", (math.exp(-2.5) - math.exp(-5)) / (1 - math.exp(-5)))],
)
def test_schedules_run_from_one_to_zero(schedule: str, middle: float) -> None:
    values = [visible_share(schedule, t / 100) for t in range(101)]  # type: ignore[arg-type]
    assert values[0] == 1.0 and values[100] == 0.0
    assert values[50] == pytest.approx(middle)
    assert values == sorted(values, reverse=True)


BITS = Masking("bit")


def test_the_number_hidden_is_uniform_and_stratified() -> None:
    data = torch.zeros(64, 16, dtype=torch.long)
    known, counts = hide(data, torch.Generator().manual_seed(0))
    assert torch.bincount(counts, minlength=17).tolist() == [0] + [4] * 16
    assert torch.equal((known == 0).sum(dim=1), counts) and known.unique().tolist() == [0, 255]


def test_the_number_of_bits_hidden_is_uniform_and_stratified() -> None:
    known, counts = hide(torch.zeros(64, 4, dtype=torch.long), torch.Generator().manual_seed(0), BITS)
    assert torch.bincount(counts, minlength=33).tolist() == [0] + [2] * 32
    assert torch.equal((path_bits(known) == 0).sum(dim=(1, 2)), counts)


def test_hidden_places_are_equally_likely() -> None:
    data = torch.zeros(8000, 10, dtype=torch.long)
    share = (hide(data, torch.Generator().manual_seed(1)).known == 0).float().mean(dim=0)
    # Mean 0.55, standard deviation of a mean below 0.0056: six of them.
    assert (share - 0.55).abs().max() < 0.034


def test_a_curriculum_hides_much_at_first_and_evenly_at_last() -> None:
    assert [least_hidden(progress) for progress in (0.0, 0.35, 0.7, 1.0)] == [0.8, pytest.approx(0.4), 0.0, 0.0]
    counts = hide(torch.zeros(50, 100, dtype=torch.long), torch.Generator().manual_seed(1), Masking(least=0.8)).num_hidden
    assert 80 < counts.min() <= 82 and counts.max() > 98


def test_the_bound_of_independent_bytes_is_their_entropy() -> None:
    nodes, data = torch.zeros(100, 8, 256), torch.zeros(100, 8, dtype=torch.long)
    for masking in (Masking(), BITS):
        known, counts = hide(data, torch.Generator().manual_seed(2), masking)
        nats = hidden_nats(nodes, data, known, masking)
        torch.testing.assert_close(bound_nats(nats, counts, masking), torch.full((100,), 8 * math.log(2)))


def test_hidden_bits_cost_what_their_own_distribution_says() -> None:
    generator = torch.Generator().manual_seed(3)
    nodes, data = torch.randn(2, 3, 256, generator=generator), torch.randint(0, 256, (2, 3), generator=generator)
    known = torch.tensor([[255, 0, 0b1111_0110], [0b1000_0001, 255, 0]])
    found = hidden_nats(nodes, data, known, BITS)
    for row, place in ((0, 1), (0, 2), (1, 0), (1, 2)):
        probs = conditioned_log_probs(nodes[row, place], data[row, place], known[row, place]).exp()
        expected = 0.0
        for bit in range(8):
            if not int(known[row, place]) >> bit & 1:
                same = [byte for byte in range(256) if (byte ^ int(data[row, place])) >> bit & 1 == 0]
                expected -= math.log(float(probs[same].sum()))
        assert found[row, place].item() == pytest.approx(expected, rel=1e-4)
    assert found[0, 0] == found[1, 1] == 0
