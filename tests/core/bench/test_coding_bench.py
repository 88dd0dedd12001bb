"""The benchmark of files: its figures are of containers that were really decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitlm_core.bench import coding
from bitlm_core.bench.coding import WrongOutputError, file_figures, geometric_mean
from bitlm_core.compression.self_contained import compress_steps
from bitlm_core.errors import ConfigError
from tests.conftest import run
from tests.core.compression.samples import LINES


def test_figures(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINES)
    (figure,) = file_figures([path])
    size = len(run(compress_steps(np.frombuffer(LINES, np.uint8))))
    assert (figure.name, figure.num_bytes, figure.bpb) == ("lines", len(LINES), 8 * size / len(LINES))
    assert figure.seconds > 0 and figure.decode_seconds > 0 and figure.peak_bytes > 10 << 20


def test_wrong_output_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines"
    path.write_bytes(LINES)
    monkeypatch.setattr(coding, "decompress_steps", lambda container: iter(()))
    monkeypatch.setattr(coding, "finished", lambda steps: b"" if isinstance(steps, type(iter(()))) else run(steps))
    with pytest.raises(WrongOutputError):
        next(file_figures([path]))
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="empty"):
        next(file_figures([path]))


def test_the_geometric_mean() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
