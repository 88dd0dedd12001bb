"""The synthesizer: groups that are there are found, each is represented by one of its own, and equal seeds agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bitlm_core import ConfigError, Engine
from bitlm_core.telemetry.synthesizer import cluster, sequence_features, standardised, synthesize


def blobs(seed: int, per_group: int = 20) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    centres = np.array([[0, 0, 5], [900, 0, 5], [0, 4, 5]])  # of different scales, and one feature that never moves
    labels = np.repeat(np.arange(3), per_group)
    return centres[labels] + chance.standard_normal((len(labels), 3)) * [40, 0.2, 0], labels


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_found_whatever_the_scales(seed: int) -> None:
    features, truth = blobs(seed)
    found = cluster(features, 3, seed=seed)
    assert found.num_clusters == 3 and len(set(zip(found.labels, truth, strict=True))) == 3
    assert found.sizes.tolist() == [20, 20, 20]


def test_the_best_of_all_partitions_is_found() -> None:
    # By trying every partition of few points into two groups.
    features = np.random.default_rng(4).standard_normal((9, 2))
    points = standardised(features)
    costs = []
    for choice in itertools.product((0, 1), repeat=9):
        groups = [points[np.array(choice) == group] for group in (0, 1)]
        if all(map(len, groups)):
            costs.append(sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups))
    assert cluster(features, 2).inertia == pytest.approx(min(costs))


def test_a_medoid_is_by_definition_the_nearest_to_all_of_its_group() -> None:
    features, _ = blobs(1)
    found, points = cluster(features, 3), standardised(features)
    for group, medoid in enumerate(found.medoids):
        members = np.flatnonzero(found.labels == group)
        sums = [sum(np.linalg.norm(points[one] - points[other]) for other in members) for one in members]
        assert medoid == members[int(np.argmin(sums))]


def test_equal_seeds_give_equal_groups() -> None:
    features = np.random.default_rng(0).standard_normal((50, 4))
    first, again = cluster(features, 5, seed=3), cluster(features, 5, seed=3)
    assert np.array_equal(first.labels, again.labels) and np.array_equal(first.medoids, again.medoids)


def test_fewer_sequences_than_groups() -> None:
    found = cluster(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), 7)
    assert found.num_clusters == 2 and found.labels.tolist() == [0, 1, 0]
    assert sorted(found.medoids.tolist()) == [0, 1] and found.inertia == 0
    assert cluster(np.array([[1.0]]), 3).labels.tolist() == [0]


def test_features_that_never_vary_count_nothing() -> None:
    assert standardised(np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 2.0]]))[:, 0].tolist() == [0, 0, 0]
    assert cluster(np.full((4, 2), 0.1), 2).num_clusters == 1


ONES = np.ones((2, 1))
REFUSED = [(np.zeros((0, 2)), 1, 10), (np.zeros(3), 1, 10), (np.array([[np.nan]]), 1, 10), (ONES, 0, 10), (ONES, 1, 0)]


@pytest.mark.parametrize(("features", "num_clusters", "n_init"), REFUSED)
def test_what_cannot_be_grouped_is_refused(features: np.ndarray, num_clusters: int, n_init: int) -> None:
    with pytest.raises(ConfigError):
        cluster(features, num_clusters, n_init=n_init)


def test_a_model_tells_text_from_noise(byte_engine: Engine, text: bytes) -> None:
    assert byte_engine.model is not None
    chance = np.random.default_rng(2)
    sequences = [text[at : at + 60] for at in range(0, 600, 60)] + [chance.bytes(60) for _ in range(10)]
    found = synthesize(byte_engine.model, sequences, 2)
    assert len(set(found.labels[:10])) == 1 == len(set(found.labels[10:])) and found.labels[0] != found.labels[-1]
    assert {medoid // 10 for medoid in found.medoids} == {0, 1}
    assert sequence_features(byte_engine.model, []).shape == (0, 3 * byte_engine.config.model.num_layers)
    with pytest.raises(ConfigError) as caught:
        sequence_features(byte_engine.model, [b"a", b""])
    assert (caught.value.index, caught.value.length) == (1, 0)
