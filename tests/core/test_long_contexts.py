"""A context of 18,000 bits, some 2,000 bytes or as many words of nine bits: the small preset trains on it and answers."""

from __future__ import annotations

from typing import Any

import pytest

from bitlm_core import (
    Engine,
    EngineConfig,
    SamplingConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    estimate_engine_bytes,
    preset_config,
)
from tests.conftest import run

BITS = 18_000


@pytest.mark.parametrize(
    ("name", "form"),
    [("byte", {}), pytest.param("bit", {"chunk_size": 576, "reversible": True}, marks=pytest.mark.slow)],
)
def test_the_small_preset_trains_and_answers(name: str, form: dict[str, Any], text: bytes) -> None:
    positions = BITS // 9 if name == "byte" else BITS
    model = preset_config("small", name, max_seq_len=positions, **form)  # type: ignore[arg-type]
    config = EngineConfig(model=model, training=TrainingConfig(batch_size=1), mixing=None)
    assert estimate_engine_bytes(config) < 1 << 30
    engine = Engine(config)
    reports = list(engine.train_steps(bytes_in_memory(text[:20_000]), TrainingPlan(steps=2)))
    assert all(report.num_bytes == BITS // 9 for report in reports)
    assert reports[1].loss < reports[0].loss
    prompt = text[30_000 : 30_000 + BITS // 9 - 4]
    generation, _ = run(engine.infer_steps(prompt, 3, SamplingConfig()))
    assert len(generation.data) == 3
