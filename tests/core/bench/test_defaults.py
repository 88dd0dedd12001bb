"""Defaults for a machine: what follows from measured speeds and from free memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitlm_core import Defaults, TrainingConfig
from bitlm_core.bench import defaults
from bitlm_core.bench.cases import grid
from bitlm_core.bench.defaults import choose_defaults, longest_window
from bitlm_core.bench.train import TrainSpeed
from bitlm_core.models.config import MAX_POSITIONS
from bitlm_core.models.presets import preset_config

GIB = 1 << 30


def speeds(*measured: tuple[int, bool, float]) -> list[TrainSpeed]:
    (case,) = grid("tiny", "byte", {})
    return [
        TrainSpeed(
            replace(case, threads=threads, training=TrainingConfig(use_autocast=bf16)), bytes_per_second, 1.0, 1.0, 0.5, 1
        )
        for threads, bf16, bytes_per_second in measured
    ]


@pytest.mark.parametrize(
    ("measured", "threads", "use_autocast"),
    [
        ([(1, True, 100.0), (1, False, 50.0), (2, True, 105.0)], 1, True),  # a twentieth is not worth a thread
        ([(1, True, 100.0), (1, False, 50.0), (2, True, 150.0)], 2, True),
        ([(1, True, 30.0), (1, False, 50.0)], 1, False),
    ],
)
def test_threads_and_dtype_are_those_that_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, measured: list[tuple[int, bool, float]], threads: int, use_autocast: bool
) -> None:
    monkeypatch.setattr(defaults, "train_speeds", lambda cases, *, steps: iter(speeds(*measured)))
    *seen, chosen = choose_defaults("tiny", steps=2, free=4 * GIB)
    assert len(seen) == len(measured) and isinstance(chosen, Defaults)
    assert (chosen.threads, chosen.use_autocast, chosen.free_memory_mib) == (threads, use_autocast, 4096)
    assert chosen.memory_estimate_mib <= 0.6 * 4096


def test_more_memory_gives_longer_windows_and_reversible_ones_only_where_they_must_be() -> None:
    found = [longest_window("tiny", TrainingConfig(), limit) for limit in (1, 1 * GIB, 2 * GIB, 4 * GIB, 8 * GIB, 1 << 50)]
    lengths = [model.max_seq_len for model, _ in found]
    assert found[0][0] == preset_config("tiny")
    assert lengths == sorted(lengths) and lengths[-1] == MAX_POSITIONS
    assert not found[-1][0].reversible and any(model.reversible for model, _ in found)
    assert all(model.attention == "chunked" for model, _ in found)
