"""The benchmark on records made here; and on the real ones, where they are, that it finds what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.bench.anomaly import AnomalyReport, anomaly_steps
from bitlm_core.bench.labelled import Labelled
from bitlm_core.errors import ConfigError


def made(num_normal: int, num_odd: int, seed: int) -> Labelled:
    """Records with a counter and a checksum that nobody can foresee; odd ones have one byte of the fixed part changed."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(num_normal + num_odd):
        row = bytearray(b"HEAD\x01\x02" + random.bytes(4) + b"body of it\x00\x00" + random.bytes(2) + b"END!")
        if number >= num_normal:
            row[random.choice([0, 2, 5, 11, 14, 20, 25])] ^= int(random.integers(1, 256))
        rows.append((bytes(row), number >= num_normal))
    order = random.permutation(len(rows))
    return Labelled(tuple(rows[at][0] for at in order), np.array([rows[at][1] for at in order]))


def report(train: Labelled, test: Labelled, seed: int = 0) -> AnomalyReport:
    *shares, found = anomaly_steps(train, test, seed=seed)
    assert isinstance(found, AnomalyReport)
    assert shares == sorted(shares) and shares[-1] == 1.0
    return found


def test_changed_bytes_are_found_beside_random_ones() -> None:
    found = report(made(300, 20, 1), made(150, 15, 2))
    assert (found.train_records, found.test_records, found.test_odd) == (300, 165, 15)
    assert found.auroc == found.streaming_auroc == found.average_precision == found.streaming_average_precision == 1.0
    assert 100 <= found.streaming_learned <= 150 and found.length_auroc == 0.5
    assert 8 * 6 / 28 < found.bits_per_byte_normal < 3.5  # six of the 28 bytes are random
    again = [report(made(40, 4, 1), made(40, 4, 2)).flat() | {"cpu_seconds": 0} for _ in range(2)]
    assert again[0] == again[1]


def test_the_odd_records_of_the_training_file_are_not_learned() -> None:
    odd = Labelled((b"HEAD\x01\x03" + b"x" * 22,) * 200, np.ones(200, np.bool_))
    train = made(100, 0, 1)
    both = Labelled(train.records + odd.records, np.concatenate([train.odd, odd.odd]))
    with_odd, without = report(both, made(60, 6, 2)), report(train, made(60, 6, 2))
    assert with_odd.flat() | {"cpu_seconds": 0} == without.flat() | {"cpu_seconds": 0}


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 normal records to learn, at least 5"):
        list(anomaly_steps(made(4, 50, 1), made(5, 5, 2)))
    with pytest.raises(ConfigError, match="both kinds"):
        list(anomaly_steps(made(9, 0, 1), made(9, 0, 2)))
