"""How far a frozen mixer leaves the word to the network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.trust import CANDIDATES, CalibrationPart, best_trust

RANDOM = np.random.default_rng(0)
DATA = RANDOM.integers(0, 256, 400, dtype=np.uint8)


def knowing(data: NDArray[np.uint8], nats: float) -> NDArray[np.float32]:
    return (nats * (2.0 * np.unpackbits(data[:, None], axis=1) - 1)).astype(np.float32)


@pytest.mark.parametrize(("network", "mixed", "expected"), [(3.0, -1.0, CANDIDATES[-1]), (-1.0, 3.0, 0)])
def test_who_knows_is_trusted(network: float, mixed: float, expected: int) -> None:
    part = CalibrationPart(DATA, knowing(DATA, network), begins=True)
    assert best_trust([part], [knowing(DATA, mixed)]).tolist() == [expected] * 8


def test_two_that_each_know_half_share() -> None:
    half = np.arange(len(DATA))[:, None] % 2 == 0
    first, second = (np.where(half == side, knowing(DATA, 2.0), 0).astype(np.float32) for side in (True, False))
    assert set(best_trust([CalibrationPart(DATA, first, begins=True)], [second])) <= {120, 128, 136}
    assert best_trust([], []).tolist() == [0] * 8


def test_each_bit_has_its_own_where_enough_was_read() -> None:
    knows, guesses = knowing(DATA, 3.0), knowing(DATA, -1.0)
    first, second = (np.where(np.arange(8) == 2, *each) for each in ((knows, guesses), (guesses, knows)))
    shares = best_trust([CalibrationPart(np.tile(DATA, 8), np.tile(first, (8, 1)), begins=True)], [np.tile(second, (8, 1))])
    assert shares.tolist() == [0, 0, CANDIDATES[-1], 0, 0, 0, 0, 0]
    little = best_trust([CalibrationPart(DATA[:3], first[:3], begins=True)], [second[:3]])
    assert (little == little[0]).all()


def test_calibration_learns_as_reading_does_and_sets_the_trust() -> None:
    """What repeats itself the mixer knows by heart while it learns, and not at all while frozen: then the expert speaks."""
    config = MixingConfig(memory_mib=8)
    mixer, other = ContextMixer(config), ContextMixer(config)
    for one in (mixer, other):
        one.read(DATA)
    fresh = np.tile(np.random.default_rng(1).integers(0, 256, 60, dtype=np.uint8), 8)
    halves = ((fresh[:200], True), (fresh[200:], False))
    parts = [CalibrationPart(part, knowing(part, 2.0), begins=begins) for part, begins in halves]
    logits = np.concatenate(mixer.calibrate(parts))
    other.start_document()
    np.testing.assert_array_equal(logits, other.read(fresh, knowing(fresh, 2.0)))
    assert mixer.trust.min() > 0 == other.trust.max()
    later = np.random.default_rng(2).integers(0, 256, 100, dtype=np.uint8)
    expert = knowing(later, 2.0)
    np.testing.assert_array_equal(mixer.copy().read(later, expert), other.copy().read(later, expert))
    bits = np.unpackbits(later[:, None], axis=1) == 1
    cost = [
        np.logaddexp(0, np.where(bits, -z, z)).sum()
        for z in (m.copy().read(later, expert, learn=False) for m in (mixer, other))
    ]
    assert cost[0] < cost[1]
    np.testing.assert_array_equal(mixer.node_logits(), other.node_logits())  # no expert, nothing to trust
