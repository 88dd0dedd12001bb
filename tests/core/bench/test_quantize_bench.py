"""What `bitlm bench quantize` reports, for networks that the kernels run and for others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitlm_core import ConfigError, EngineConfig, QuantizeReport, quantize_bench_steps
from bitlm_core.bench import quantize


def test_every_way_is_measured_on_the_same_bytes(
    config_of: Callable[..., EngineConfig], architecture: str, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "DRAWN", 8)
    monkeypatch.setattr(quantize, "ROUNDS", 1)
    *shares, report = quantize_bench_steps(text[:6_000], config_of(architecture), seconds=0.1, qat_steps=2)
    assert isinstance(report, QuantizeReport) and shares == sorted(shares)  # type: ignore[type-var]
    assert report.file_ratio_int4 < report.file_ratio_int8 < 0.3 and report.bytes_scored == 600 and report.qat_steps == 2
    assert all(0 < abs(known - report.bpb_float32) < 0.5 for known in (report.bpb_int8, report.bpb_int4))
    assert report.bpb_int4_qat != report.bpb_int4 and report.bpb_float32_trained_on != report.bpb_float32
    speeds = (report.bytes_per_second_float32, report.bytes_per_second_int8, report.bytes_per_second_int4)
    assert all(speed is None if architecture == "bit" else speed is not None and speed > 0 for speed in speeds)


def test_too_little_data_is_refused(config_of: Callable[..., EngineConfig]) -> None:
    with pytest.raises(ConfigError, match="leave 1 to be scored"):
        next(quantize_bench_steps(b"abcd" * 2, config_of("byte"), seconds=1, qat_steps=1))
