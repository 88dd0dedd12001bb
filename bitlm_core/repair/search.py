"""The likeliest bytes of one stretch of damage, by all that stands before and after it.

    nats(alternative) = −ln p(its unknown bytes, the known ones between them, and what follows | what stands before)

A beam goes through the stretch: at an unknown byte every alternative branches, at a known one it only pays. Then all read the
right context, which differs for none of them but is worth more or less to each; what falls far behind is dropped on the way.
Where there is a network beside the mixer, the two together weigh what is left. The posterior over that is the confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.repair.walker import Rows, Walker

PIECES = (3, 5, 8, 16)
"""Of the right context, read one after the other; the last size again and again."""
FAR_NATS = 12.0
"""An alternative so far behind the best one is given up; e^-12 of its probability would be left."""
NEAR_NATS, MOST_NEAR = 7.0, 12
"""Beside a mixer, the network weighs only what is nearer than that, and so many at most."""


@dataclass(frozen=True)
class Stretch:
    """Damage so close together that it is restored at once. places: ascending; end: up to where what follows is looked at."""

    places: NDArray[np.int64]
    end: int


@dataclass(frozen=True)
class Weighed:
    """Alternatives for all places of a stretch together: chosen [B, places], and what each costs, nats [B]."""

    chosen: NDArray[np.uint8]
    nats: NDArray[np.float64]

    @property
    def posterior(self) -> NDArray[np.float64]:
        """[B] how probable each is."""
        weights = np.exp(self.nats.min() - self.nats)
        found: NDArray[np.float64] = weights / weights.sum()
        return found

    def marginals(self) -> NDArray[np.float64]:
        """[places, 256] how probable each byte is at each place."""
        found = np.zeros((self.chosen.shape[1], 256))
        for place, column in enumerate(self.chosen.T):
            np.add.at(found[place], column, self.posterior)
        return found


def weigh(
    walker: Walker,
    stretch: Stretch,
    data: NDArray[np.uint8],
    priors: NDArray[np.float64],
    width: int,
    hints: NDArray[np.float64] | None = None,
) -> Weighed:
    """Search the stretch at whose first place the walker stands; `width` alternatives are kept.

    priors [places, 256]: nats that a byte costs at a place beyond what the model says. hints [places, 256]: ln p by another
    model, which also may name candidates, but has no say in their weight.
    """
    rows, nats = walker.open(), np.zeros(1)
    parents, coming = np.zeros(1, np.int64), np.zeros((1, 0), np.uint8)
    chosen = np.zeros((1, 0), np.uint8)
    at = walker.at
    for number, place in enumerate(stretch.places.tolist()):
        rows, nats = _paid(walker, rows, nats, parents, coming, data[at:place])
        own = -walker.log_probs(rows)
        cost = own if hints is None else np.minimum(own, -hints[number])
        order = (nats[:, None] + cost + priors[number]).ravel()
        best = np.argsort(order, kind="stable")[:width]
        parents, byte = best // 256, best % 256
        chosen = np.concatenate([chosen[parents], byte[:, None].astype(np.uint8)], axis=1)
        nats = nats[parents] + priors[number, byte]
        coming, at = byte[:, None].astype(np.uint8), place + 1
    found = _followed(walker, rows, (chosen, nats, parents, coming), data[at : stretch.end])
    return _weighed_by_both(walker, stretch, data, priors, found) if walker.has_both else found


def _paid(
    walker: Walker,
    rows: Rows,
    nats: NDArray[np.float64],
    parents: NDArray[np.int64],
    coming: NDArray[np.uint8],
    known: NDArray[np.uint8],
) -> tuple[Rows, NDArray[np.float64]]:
    """Read what was chosen, and the known bytes up to the next place."""
    data = np.concatenate([coming, np.broadcast_to(known, (len(coming), len(known)))], axis=1)
    if not data.shape[1]:
        return rows, nats
    cost, rows = walker.read(rows, parents, data)
    return rows, nats + cost


def _followed(
    walker: Walker,
    rows: Rows,
    beam: tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]],
    right: NDArray[np.uint8],
) -> Weighed:
    """Let the alternatives pay for what follows, piece by piece."""
    chosen, nats, parents, coming = beam
    done = 0
    sizes = list(PIECES) if rows.places else [len(right)]  # a network reads all of its row again for each piece
    while True:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        rows, nats = _paid(walker, rows, nats, parents, coming, right[done : done + size])
        done += size
        near = np.flatnonzero(nats <= nats.min() + FAR_NATS)
        chosen, nats, parents, coming = chosen[near], nats[near], near, coming[near][:, :0]
        if done >= len(right) or len(near) == 1:
            return Weighed(chosen, nats)


def _weighed_by_both(
    walker: Walker, stretch: Stretch, data: NDArray[np.uint8], priors: NDArray[np.float64], found: Weighed
) -> Weighed:
    order = np.argsort(found.nats, kind="stable")[:MOST_NEAR]
    near = order[found.nats[order] <= found.nats.min() + NEAR_NATS]
    if len(near) == 1:
        return Weighed(found.chosen[near], found.nats[near])
    chosen = found.chosen[near]
    rows = np.repeat(data[None, walker.at : stretch.end], len(near), axis=0)
    rows[:, stretch.places - walker.at] = chosen
    return Weighed(chosen, walker.costs(rows) + priors[np.arange(len(priors)), chosen].sum(axis=1))
