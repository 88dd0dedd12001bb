"""Byte-latent models as engines: what they tell of their patches, what comes back from a checkpoint, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from bitlm_core import (
    ByteData,
    Engine,
    EngineConfig,
    MixingConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
)

SIZES = {"d_model": 32, "nhead": 1, "num_layers": 1, "local_width": 32, "max_seq_len": 64, "ngram_rows": 64}


def an_engine(*, mixing: bool = False, training: dict[str, Any] | None = None, **form: Any) -> Engine:
    """Small, and before its first step."""
    settings = TrainingConfig(**{"batch_size": 4, "warmup_steps": 2, "telemetry_every": 2, **(training or {})})
    config = {"model": preset_config("tiny", "patch", **{**SIZES, **form}), "training": settings, "seed": 5}
    return Engine(EngineConfig(**config, mixing=MixingConfig(memory_mib=8) if mixing else None))


@pytest.fixture(scope="module")
def data(text: bytes) -> ByteData:
    return bytes_in_memory(text[:12_000])


def test_steps_that_measure_tell_of_patches(data: ByteData) -> None:
    reports = list(an_engine().train_steps(data, TrainingPlan(steps=4)))
    assert [report.patches is not None for report in reports] == [False, True, False, True]
    about = reports[-1].patches
    assert about is not None and 3 < about.mean < 5 and about.spread > 1 and about.longest <= 24
    assert sum(about.histogram) == about.num_patches
    assert sum(size * count for size, count in enumerate(about.histogram, 1)) == 4 * 63  # START is none of them


def test_a_fixed_stride_is_told_exactly(data: ByteData) -> None:
    (report,) = an_engine(patching="fixed", stride=3, training={"telemetry_every": 1}).train_steps(data, TrainingPlan(steps=1))
    assert report.patches is not None and report.patches.histogram == (0, 0, 4 * 21)
    assert (report.patches.mean, report.patches.spread) == (3, 0)
