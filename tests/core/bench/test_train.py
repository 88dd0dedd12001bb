"""The speed of training: figures that fit together, whatever the machine."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.bench.cases import grid
from bitlm_core.bench.train import block_parameters, train_speeds
from bitlm_core.errors import ConfigError
from bitlm_core.models.build import build_model
from bitlm_core.models.config import count_parameters


@pytest.mark.parametrize("architecture", ["byte", "bit"])
def test_the_figures_of_a_case_fit_together(architecture: str) -> None:
    fixed = {"d_model": 32, "nhead": 1, "max_seq_len": 36, "batch_size": 2}
    cases = list(grid("tiny", architecture, {"use_autocast": [True, False]}, fixed))  # type: ignore[arg-type]
    speeds = list(train_speeds(iter(cases), steps=2))
    assert [speed.case for speed in speeds] == cases
    num_bytes = 2 * cases[0].model.max_bytes
    for speed in speeds:
        assert speed.bytes_per_second == pytest.approx(num_bytes / (speed.step_ms / 1e3))
        work = 6 * 2 * (4 * 32 * 32 + 2 * 32 * 128) * num_bytes * cases[0].model.positions_per_byte
        assert speed.gemm_share == pytest.approx(work / (speed.step_ms / 1e3) / (1e9 * speed.gemm_gflops))
        assert speed.num_parameters == count_parameters(speed.case.model)


def test_only_the_matrices_of_the_blocks_are_work() -> None:
    (case,) = grid("tiny", "byte", {}, {"d_model": 32, "nhead": 1, "num_layers": 3})
    assert block_parameters(build_model(case.model)) == 3 * (4 * 32 * 32 + 2 * 32 * 128)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device on this machine: use the device cpu"):
        list(train_speeds(grid("tiny", "byte", {}), steps=2, device="cuda"))
