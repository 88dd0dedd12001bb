"""Repair: go through damaged data, restore stretch by stretch, and tell how sure each byte is.

Each pass walks from left to right and puts the likeliest byte into a copy at once, so that what comes later sees it on its
left. The first pass looks to the right no further than the next certain damage; later ones look across what was restored.

`adaptive`: the mixer learns the data itself on the way, damage restored: that is what a file unlike all training data needs.
Learning what stands after a place would learn the place too, and so believe its own guess. Therefore the data is halved: from
the second pass on, each half is restored by a mixer that has learned the other one, and of its own only what it has passed.

Documents teach each other (a mixer learns from all of them), and none is another one's context: neither what stands before a
document nor what follows it weighs what is restored in it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.compression.self_contained import config_for
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import profile_of
from bitlm_core.models.interface import LanguageModel
from bitlm_core.repair.damage import Damage
from bitlm_core.repair.masked import masked_log_probs
from bitlm_core.repair.search import Stretch, weigh
from bitlm_core.repair.settings import RepairSettings
from bitlm_core.repair.walker import Walker, half_window

CHUNK = 1 << 15
"""Bytes read between two safe points."""
GAP = 8
"""Places with at most so many known bytes between two neighbours are restored together ..."""
TOGETHER = 32
"""... at most so many."""


@dataclass(frozen=True)
class Repair:
    """restored [N]: a copy of the data with the proposals in it. offsets, was, proposed, confidence [P]: of each.

    num_places: how many were looked at; where damage was certain all are proposals, the byte that was there perhaps again.
    """

    restored: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    was: NDArray[np.uint8]
    proposed: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    num_places: int


def repair_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    damage: Damage,
    settings: RepairSettings | None = None,
    *,
    masked: bool = False,
) -> Generator[float, None, Repair]:
    """Restore what is damaged, yielding the share done. Neither the data nor the model is changed.

    One of `model` and `mixer` may be None. masked: the network was trained for diffusion, so it may name candidates. Raises
    ConfigError for no data, and ModelStateError when it is to adapt and there is no mixer, or the network gives NaN.
    """
    settings = settings or RepairSettings(adaptive=mixer is not None)
    if not len(damage.data):
        raise ConfigError("there is nothing to repair (0 bytes, at least 1): give some data")
    if settings.adaptive and mixer is None:
        raise ModelStateError("this model has no context mixing, so nothing in it can adapt: repair without adaptive")
    job = _Repairing(model, damage, settings, masked)
    if len(damage.places):
        for number in range(settings.passes):
            for share in job.go_through(mixer, first=number == 0):
                yield (number + share) / settings.passes
    yield 1.0
    return job.result()


def fresh_mixer(data: NDArray[np.uint8]) -> ContextMixer:
    """A mixer that knows nothing yet, for data that is to be repaired by itself alone (adaptive)."""
    return ContextMixer(config_for(len(data), None), profile_of(data))


class _Repairing:
    """A copy of the data that gets better pass by pass, and what is known of each place."""

    def __init__(self, model: LanguageModel | None, damage: Damage, settings: RepairSettings, masked: bool) -> None:
        self._model, self._damage, self._settings = model, damage, settings
        self._masker = model if masked else None
        self._reach = half_window(model) if model else CHUNK
        """A stretch and what is read after it has so many bytes at most."""
        self._data, self._documents = damage.data.copy(), damage.documents
        self._confidence = np.zeros(len(damage.places))

    def go_through(self, mixer: ContextMixer | None, *, first: bool) -> Iterator[float]:
        """One pass; yields the share done."""
        size, adaptive = len(self._data), self._settings.adaptive
        parts = [(0, size)] if first or not adaptive else [(0, size // 2), (size // 2, size)]
        for number, (begin, end) in enumerate(parts):
            own = mixer
            if mixer is not None:
                own = mixer.copy() if adaptive else mixer.frozen()
                for other in parts[:number] + parts[number + 1 :]:
                    for share in self._learn(own, *other):
                        yield (number + share / 4) / len(parts)
            walker = Walker(self._model, own, self._data, adaptive=adaptive, start=begin, documents=self._documents)
            for share in self._walk(walker, end, first):
                yield (number + max(share, 0.25)) / len(parts)

    def _learn(self, mixer: ContextMixer, begin: int, end: int) -> Iterator[float]:
        self._documents.stand_at(mixer, self._data, begin)
        for at in range(begin, end, CHUNK):
            self._documents.read(mixer, self._data, at, min(end, at + CHUNK), learn=True)
            yield (at - begin) / (end - begin)

    def _walk(self, walker: Walker, end: int, first: bool) -> Iterator[float]:
        begin = walker.at
        for where, stretch in self._stretches(begin, end, first):
            place = int(stretch.places[0])
            while walker.at < place:
                walker.go(min(place, walker.at + CHUNK))
                yield (walker.at - begin) / (end - begin)
            self._restore(walker, where, stretch)
            yield (walker.at - begin) / (end - begin)

    def _restore(self, walker: Walker, where: slice, stretch: Stretch) -> None:
        places = stretch.places
        priors = self._damage.weights[self._damage.data[places]]
        first, end = self._documents.begin(int(places[0])), self._documents.end(int(places[0]))
        hints = masked_log_probs(self._masker, self._data[first:end], places - first) if self._masker else None
        marginals = weigh(walker, stretch, self._data, priors, self._settings.width, hints).marginals()
        self._data[places] = marginals.argmax(axis=1)
        self._confidence[where] = marginals.max(axis=1)

    def _stretches(self, begin: int, end: int, first: bool) -> Iterator[tuple[slice, Stretch]]:
        """Those that begin in [begin, end), and which of the places each has; none reaches into the next document."""
        places = self._damage.places
        at, stop = np.searchsorted(places, [begin, end]).tolist()
        while at < stop:
            after, most = at + 1, min(self._documents.end(int(places[at])), int(places[at]) + self._reach)
            while after < min(stop, at + TOGETHER) and places[after] <= min(places[after - 1] + GAP + 1, most - 1):
                after += 1
            seen = min(most, int(places[after - 1]) + 1 + self._settings.horizon)
            if first and self._damage.certain and after < len(places):
                seen = min(seen, int(places[after]))
            yield slice(at, after), Stretch(places[at:after], seen)
            at = after

    def result(self) -> Repair:
        """What came of it."""
        places = self._damage.places
        was, proposed = self._damage.data[places], self._data[places]
        told = np.ones(len(places), np.bool_) if self._damage.certain else was != proposed
        return Repair(self._data, places[told], was[told], proposed[told], self._confidence[told], len(places))
