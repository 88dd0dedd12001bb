"""Windows tile a stream, and reading byte by byte follows the same ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core import ModelConfig
from bitlm_core.mixing import expert
from bitlm_core.mixing.windows import Window, count_windows, half_overlapping, stream_windows, window_start

EXAMPLES = settings(derandomize=True, deadline=None)
DATA = np.zeros(5000, np.uint8)


@EXAMPLES
@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_every_byte_is_predicted_once_in_order(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    windows = list(stream_windows(length, size, overlap))
    assert len(windows) == count_windows(length, size, overlap)
    predicted = [position for window in windows for position in range(window.predicted, window.end)]
    assert predicted == list(range(length))
    assert all(window.end - window.start <= size for window in windows)
    assert all(window.predicted - window.start == overlap for window in windows[1:])


@EXAMPLES
@given(st.integers(1, 300), st.integers(2, 40))
def test_stepwise_reading_uses_the_same_windows(length: int, max_bytes: int) -> None:
    for window in half_overlapping(length, max_bytes):
        for position in range(window.predicted, window.end):
            assert window_start(position, max_bytes) == window.start


@pytest.mark.parametrize(("architecture", "positions"), [("byte", 1), ("bit", 9)])
def test_batches_of_windows_are_bounded(architecture: str, positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def record(model: object, data: np.ndarray, batch: list[Window]) -> list[np.ndarray]:
        sizes.append((len(batch), max(window.end - window.start for window in batch)))
        return [np.zeros((window.end - window.predicted, 8), np.float32) for window in batch]

    monkeypatch.setattr(expert, "_logits", record)
    for max_bytes in (16, 200, 600):
        model = SimpleNamespace(config=ModelConfig(architecture=architecture, max_seq_len=max_bytes * positions))  # type: ignore[arg-type]
        found = [window for window, _ in expert.expert_path_logits(model, DATA, half_overlapping(len(DATA), max_bytes))]  # type: ignore[arg-type]
        assert found == list(half_overlapping(len(DATA), max_bytes))
    assert all(count == 1 or (count <= 16 and count * size * positions <= 4096) for count, size in sizes)
    assert max(count for count, _ in sizes) == 16
