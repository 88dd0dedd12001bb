"""`bitlm bench generate` and `weights`: what they report, in small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bitlm_core import ConfigError, EngineConfig, GenerateReport, Int8Report, generate_speeds, int8_cost_steps
from bitlm_core.bench import generate


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size and a time that suit a test."""
    monkeypatch.setattr(generate, "SIZES", {"little": {"d_model": 32, "nhead": 1, "num_layers": 1}})
    sizes = {"d_model": 32, "nhead": 1, "num_layers": 1, "local_width": 32, "local_heads": 1}
    monkeypatch.setattr(generate, "PATCH_SIZES", {"little": sizes})
    monkeypatch.setattr(generate, "WINDOW", 32)
    monkeypatch.setattr(generate, "COMPARED", 70)
    monkeypatch.setattr(generate, "ROUNDS", 1)
    monkeypatch.setattr(generate, "SECONDS", 0.01)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(("streams", "threads"), [(1, 1), (3, 2)])
def test_it_compares_speeds_and_logits(streams: int, threads: int) -> None:
    *shares, report = generate_speeds("little", streams=streams, threads=threads)
    assert isinstance(report, GenerateReport) and shares == sorted(shares)  # type: ignore[type-var]
    flat = report.flat()
    assert all(flat[name] > 0 for name in flat if name.startswith("bytes_per_second"))  # type: ignore[operator]
    assert 0 < report.max_logit_difference < 1e-5 < report.max_logit_difference_int8
    assert (report.engine, report.streams, report.threads) == ("fused", streams, threads)
    assert report.num_multiplied == 4 * 32 * 32 + 8 * 32 * 32 + 256 * 32 < report.num_parameters


@pytest.mark.usefixtures("little")
def test_patches_are_measured_the_same_way() -> None:
    *shares, report = generate_speeds("little", architecture="patch", patch_bytes=3)
    assert isinstance(report, GenerateReport) and shares == sorted(shares)  # type: ignore[type-var]
    assert (report.engine, report.architecture, report.patch_bytes) == ("fused", "patch", 3)
    assert min(report.bytes_per_second, report.bytes_per_second_mixing_int8, report.bytes_per_second_torch) > 0
    assert report.bytes_per_second_carried is None is report.bytes_per_second_carried_int8
    assert 0 < report.max_logit_difference < 1e-5 < report.max_logit_difference_int8
    assert report.num_multiplied == (3 * 12 + 5 + 2 + 4 + 8) * 32 * 32 < report.num_parameters
    with pytest.raises(ConfigError, match="patch_bytes=2 means nothing"):
        next(iter(generate_speeds("little", patch_bytes=2)))


@pytest.mark.parametrize("name", generate.SIZES)
def test_byte_and_patch_networks_of_a_size_are_of_a_size(name: str) -> None:
    multiplied = []
    for patch_bytes in (None, 4):
        with torch.device("meta"):
            model = generate.random_model("full", name, patch_bytes)
        multiplied.append(generate.num_multiplied(model))
    assert multiplied[1] == pytest.approx(multiplied[0], rel=0.01)


def test_a_size_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'7M' is not one of 0\.8M, 1\.3M, 5M, 25M"):
        next(iter(generate_speeds("7M")))


def test_int8_is_scored_beside_float32(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    *shares, report = int8_cost_steps(text[:20_000], config_of("byte"), seconds=0.5)
    assert isinstance(report, Int8Report) and shares == sorted(shares)  # type: ignore[type-var]
    assert report.bpb_float32 == pytest.approx(report.bpb_torch, abs=1e-5)
    assert 0 < abs(report.int8_cost) < 0.01 and report.int8_cost == pytest.approx(report.bpb_int8 - report.bpb_float32)
    assert report.bpb_online_float32 is not None and report.bpb_online_float32 < report.bpb_float32
    assert report.bytes_scored == 2_000 and report.cpu_seconds >= 0.5


def test_what_cannot_be_compared_is_refused(config_of: Callable[..., EngineConfig]) -> None:
    with pytest.raises(ConfigError, match="architecture='bit'"):
        next(int8_cost_steps(b"abcd" * 99, config_of("bit"), seconds=1))
    with pytest.raises(ConfigError, match="leave 1 to be scored"):
        next(int8_cost_steps(b"abcd" * 2, config_of("byte"), seconds=1))
