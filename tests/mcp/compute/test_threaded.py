"""The lazy door: where models compute, and what is said where that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitlm_core import ConfigError
from bitlm_mcp.compute.threaded import prepare
from bitlm_mcp.settings import Device
from tests.mcp.workspaces import server


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cuda", True, "cuda"), ("cpu", True, "cpu")],
)
def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch, asked: Device, there: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert prepare(None, asked) == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"--device cuda was given, and torch .* finds no CUDA device: give --device auto"):
        prepare(None, "cuda")


@pytest.mark.parametrize("isolate", [False, True])
def test_the_first_use_of_a_model_tells(tmp_path: Path, isolate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of the process that computes
    with server(tmp_path / "state", isolate=isolate, device="cuda") as made:
        for _ in range(2):
            with pytest.raises(AssertionError, match="finds no CUDA device"):
                made.create()
