"""Sequences grouped by how a model computes on them, and the sequence that stands for each group.

    model ─→ features [N, F] ─→ standardised ─→ k-means ─→ groups, and the medoid of each

Features of a sequence, per layer: mean and variance of the activations that enter it, and the entropy of its attention map. A
feature that is the same for all sequences says nothing and counts nothing. The k-means is Lloyd's with k-means++ starts
(D. Arthur, S. Vassilvitskii, 2007), the best of `n_init`; equal seeds give equal groups. What represents a group is one of its
own sequences, the medoid: the one with the smallest sum of distances to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.probe import Probe
from bitlm_core.models.interface import LanguageModel

N_INIT = 10
MAX_ROUNDS = 300
MAX_SEQUENCES = 16_384
_AT_ONCE = 1 << 22  # distances computed at once


@dataclass(frozen=True)
class Clusters:
    """labels [N]: the group of each sequence, 0 … num_clusters − 1. medoids [num_clusters]: which sequence stands for each.

    inertia: sum of squared distances to the groups' means, in standardised features.
    """

    labels: NDArray[np.int64]
    medoids: NDArray[np.int64]
    inertia: float

    @property
    def num_clusters(self) -> int:
        """May be less than was asked for: there are no more groups than different sequences."""
        return len(self.medoids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """[num_clusters] sequences in each group."""
        return np.bincount(self.labels, minlength=self.num_clusters)


def sequence_features(model: LanguageModel, sequences: Sequence[bytes]) -> NDArray[np.float64]:
    """[N, 3·layers]: means, variances and attention entropies of each sequence, layer by layer.

    Raises ConfigError (`index`, `length`) for a sequence that is empty or longer than the model's window.
    """
    rows = []
    for index, sequence in enumerate(sequences):
        if not 1 <= len(sequence) <= model.config.max_bytes:
            raise ConfigError(
                f"sequence {index} has {len(sequence)} bytes, and one pass reads 1 to {model.config.max_bytes}: cut or drop it",
                index=index,
                length=len(sequence),
            )
        probe = Probe()
        data = torch.tensor([list(sequence)])
        with torch.no_grad():
            model.path_logits(data, trace=Trace(probe=probe))
        found = [float(layer) for part in (probe.mean, probe.variance, probe.entropy) for layer in part]
        # Halting may leave the last layers out: what was not computed is 0.
        layers, computed = model.config.num_layers, len(probe.entropy)
        rows.append([found[part * computed + at] if at < computed else 0.0 for part in range(3) for at in range(layers)])
    return np.array(rows, np.float64).reshape(len(rows), 3 * model.config.num_layers)


def standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column to mean 0 and deviation 1; to 0 where it does not vary beyond rounding."""
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    constant = deviation <= 1e-9 * np.abs(features).max(axis=0, initial=0.0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))


def cluster(features: NDArray[np.float64], num_clusters: int, *, seed: int = 0, n_init: int = N_INIT) -> Clusters:
    """Group N sequences by [N, F] features; with fewer different ones than `num_clusters`, each different one is a group.

    Raises ConfigError for no sequence, too many, features that are no numbers, or `num_clusters` or `n_init` below 1.
    """
    _check(features, num_clusters, n_init)
    points = standardised(features)
    different = np.unique(points, axis=0)
    chance = np.random.default_rng(seed)
    if len(different) <= num_clusters:
        centres = different
    else:
        runs = (_lloyd(points, _spread_starts(points, num_clusters, chance)) for _ in range(n_init))
        centres = min(runs, key=lambda found: _inertia(points, found))
    labels = _nearest(points, centres)
    present, labels = np.unique(labels, return_inverse=True)
    medoids = np.array([_medoid(points, np.flatnonzero(labels == group)) for group in range(len(present))], np.int64)
    return Clusters(labels.astype(np.int64), medoids, _inertia(points, centres))


def synthesize(
    model: LanguageModel, sequences: Sequence[bytes], num_clusters: int, *, seed: int = 0, n_init: int = N_INIT
) -> Clusters:
    """Group sequences by how the model computes on them, see `sequence_features` and `cluster`."""
    return cluster(sequence_features(model, sequences), num_clusters, seed=seed, n_init=n_init)


def _check(features: NDArray[np.float64], num_clusters: int, n_init: int) -> None:
    if features.ndim != 2 or not 1 <= len(features) <= MAX_SEQUENCES or not np.isfinite(features).all():
        raise ConfigError(
            f"features of shape {features.shape} cannot be grouped: give 1 to {MAX_SEQUENCES:,} rows of finite numbers",
            shape=features.shape,
        )
    if num_clusters < 1 or n_init < 1:
        raise ConfigError(
            f"num_clusters={num_clusters} and n_init={n_init} must both be at least 1", num_clusters=num_clusters, n_init=n_init
        )


def _spread_starts(points: NDArray[np.float64], count: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Starts that are far from each other: each next one drawn in proportion to its squared distance to those before."""
    chosen = [int(chance.integers(len(points)))]
    left = _squared(points, points[chosen])[:, 0]
    while len(chosen) < count:
        chosen.append(int(chance.choice(len(points), p=left / left.sum())))
        left = np.minimum(left, _squared(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _lloyd(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres that are the means of what is nearest to them; one that lost all of it stays where it is."""
    for _ in range(MAX_ROUNDS):
        labels = _nearest(points, centres)
        sizes = np.bincount(labels, minlength=len(centres))[:, None]
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points)
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _squared(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, K] squared distances, exactly 0 between equal points."""
    step = max(1, _AT_ONCE // max(1, centres.size))
    parts = [((points[at : at + step, None] - centres) ** 2).sum(axis=2) for at in range(0, len(points), step)]
    return np.concatenate(parts)


def _nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = _squared(points, centres).argmin(axis=1)
    return nearest


def _inertia(points: NDArray[np.float64], centres: NDArray[np.float64]) -> float:
    return float(_squared(points, centres).min(axis=1).sum())


def _medoid(points: NDArray[np.float64], members: NDArray[np.int64]) -> int:
    """The member with the smallest sum of distances to the others; of equals the first."""
    own = points[members]
    sums = [float(np.sqrt(_squared(own, point[None])).sum()) for point in own]
    return int(members[int(np.argmin(sums))])
