"""Statistics of data: counts by hand, data whose entropies are known, and what is only sampled."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from bitlm_core import ConfigError, data_statistics
from bitlm_core.training import statistics


def bytes_of(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


def test_entropies_are_those_of_counts_by_hand(text: bytes) -> None:
    data = text[:3_000]

    def joint(length: int) -> float:
        counts = Counter(data[at : at + length] for at in range(len(data) - length + 1))
        return -sum(count / counts.total() * math.log2(count / counts.total()) for count in counts.values())

    found = data_statistics(bytes_of(data))
    assert found.entropy_0 == pytest.approx(joint(1)) and found.entropy_1 == pytest.approx(joint(2) - joint(1))
    assert found.entropy_2 == pytest.approx(joint(3) - joint(2))
    assert (found.bytes_measured, found.distinct_bytes) == (3_000, len(set(data)))
    assert (found.num_lines, found.mean_line_bytes) == (data.count(b"\n"), 3_000 / data.count(b"\n"))
    assert found.kind == "text" and found.mean_document_bytes is None


def test_data_that_is_known_is_told() -> None:
    noise = data_statistics(np.random.default_rng(0).integers(0, 256, 1 << 18).astype(np.uint8), num_documents=4)
    assert noise.entropy_0 > 7.99 and noise.entropy_1 > 7.7 and noise.entropy_2 < noise.entropy_1 and noise.kind == "binary"
    assert noise.num_lines is None and noise.mean_line_bytes is None and noise.mean_document_bytes == 1 << 16
    cycle = data_statistics(np.arange(1000).astype(np.uint8))
    assert cycle.entropy_0 == pytest.approx(8, abs=0.01) and cycle.entropy_1 < 0.01 and cycle.distinct_bytes == 256
    assert data_statistics(bytes_of(b"no line")).mean_line_bytes is None
    one = data_statistics(bytes_of(b"x"))
    assert (one.entropy_0, one.entropy_1, one.entropy_2, one.kind) == (0, 0, 0, "text")
    assert data_statistics(bytes_of("日本語".encode() * 9)).kind == "binary"  # no ASCII at all


def test_of_long_data_pieces_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "PIECE_BYTES", 100)
    half = np.concatenate([np.zeros(50_000, np.uint8), np.full(50_000, 200, np.uint8)])
    found = data_statistics(half)
    assert found.bytes_measured == 1_600 and found.entropy_0 == pytest.approx(1.0) and found.entropy_1 < 0.02
    with pytest.raises(ConfigError, match="0 bytes"):
        data_statistics(half[:0])
