"""The search against the plain product of probabilities, for every alternative."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import learned, lines, network

from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.repair.search import FAR_NATS, Stretch, weigh
from bitlm_core.repair.walker import Walker
from bitlm_core.scoring.likelihood import total_nats


def costs(mixer: ContextMixer, data: np.ndarray, place: int, end: int) -> np.ndarray:
    """[256] nats of data[place:end] with each byte at the place, by a mixer that reads it all."""
    found = []
    standing = mixer.frozen()
    standing.start_document()
    standing.read(data[:place], learn=False)
    for byte in range(256):
        twin = standing.frozen()
        part = data[place:end].copy()
        part[0] = byte
        found.append(total_nats(twin.read(part, learn=False), part))
    return np.array(found)


def test_the_posterior_is_that_of_reading_every_alternative() -> None:
    data = lines()
    place, end = 500, 540
    walker = Walker(None, learned().frozen(), data, adaptive=False, start=place)
    found = weigh(walker, Stretch(np.array([place]), end), data, np.zeros((1, 256)), 256)
    wanted = costs(learned(), data, place, end)
    assert found.chosen[found.nats.argmin(), 0] == wanted.argmin() == data[place]
    assert found.nats == pytest.approx(wanted[found.chosen[:, 0]], abs=1e-6)
    missing = np.delete(wanted, found.chosen[:, 0])
    assert missing.min() > wanted.min() + FAR_NATS - 7  # given up on the way, so by part of what followed
    assert found.marginals()[0].sum() == pytest.approx(1)


def test_the_right_context_decides_and_what_was_there_weighs() -> None:
    data = lines()
    place = data.tobytes().index(b"pass it", 300) + 1  # "p?ss": the left context alone knows nothing of it
    walker = Walker(None, learned().frozen(), data, adaptive=False, start=place)
    free = weigh(walker, Stretch(np.array([place]), place + 20), data, np.zeros((1, 256)), 32)
    assert free.marginals()[0].argmax() == ord("a") and free.posterior.max() > 0.99
    prior = np.full((1, 256), 1000.0)
    prior[0, ord("e")] = 0
    held = weigh(walker, Stretch(np.array([place]), place + 20), data, prior, 32)
    assert held.marginals()[0].argmax() == ord("e")


def test_known_bytes_between_two_places_are_paid_for() -> None:
    data = lines()
    first = data.tobytes().index(b"around", 600)
    places = np.array([first, first + 3])
    walker = Walker(None, learned().frozen(), data, adaptive=False, start=first)
    found = weigh(walker, Stretch(places, first + 30), data, np.zeros((2, 256)), 16)
    best = found.chosen[found.nats.argmin()]
    assert bytes(best) == b"au"
    twin = learned().frozen()
    twin.start_document()
    twin.read(data[:first], learn=False)
    assert found.nats.min() == pytest.approx(
        total_nats(twin.read(data[first : first + 30], learn=False), data[first : first + 30])
    )


def test_a_network_and_a_mixer_weigh_together_as_in_scoring() -> None:
    model = network(128)
    data = lines()[:100]
    place = 40
    walker = Walker(model, learned().frozen(), data, adaptive=False, start=place)
    rows = np.stack([data[place:70], data[place:70]])
    rows[1, 0] ^= 1
    found = walker.costs(rows)
    for row, cost in zip(rows, found, strict=True):
        whole = np.concatenate([data[:place], row])
        with torch.no_grad():
            expert = model.path_logits(torch.from_numpy(whole.astype(np.int64))[None])[0].numpy()
        twin = learned().frozen()
        twin.start_document()
        twin.read(whole[:place], learn=False)
        assert cost == pytest.approx(total_nats(twin.read(row, expert[place:], learn=False), row), abs=0.02)


def test_a_network_alone_searches_too() -> None:
    model = network(64)
    data = lines()[:60]
    walker = Walker(model, None, data, adaptive=False, start=20)
    found = weigh(walker, Stretch(np.array([20]), 40), data, np.zeros((1, 256)), 256)
    rows = np.repeat(data[None, :40].astype(np.int64), 256, axis=0)
    rows[:, 20] = np.arange(256)
    with torch.no_grad():
        logits = model.path_logits(torch.from_numpy(rows)).numpy()
    wanted = np.array([total_nats(part[20:], row[20:].astype(np.uint8)) for part, row in zip(logits, rows, strict=True)])
    assert found.nats == pytest.approx(wanted[found.chosen[:, 0]], abs=1e-3)
    assert found.chosen[found.nats.argmin(), 0] == wanted.argmin()
