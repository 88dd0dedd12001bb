"""`bitlm bench defaults`: settings that are fast and safe on this machine, found by measuring and by estimating memory.

Threads and dtype are those of the fastest measured training; more threads must gain a tenth to be worth it, for they stall
at each other on a shared machine. The window is the longest that fits into the free memory, run reversibly only where it
would not fit otherwise; a byte network's attention is chunked, so a position costs the same in all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from bitlm_core.bench.cases import grid
from bitlm_core.bench.report import Report
from bitlm_core.bench.train import TrainSpeed, train_speeds
from bitlm_core.device import SHARE_OF_FREE, free_memory_bytes
from bitlm_core.engine_config import EngineConfig, estimate_engine_bytes
from bitlm_core.models.config import MAX_POSITIONS, ModelConfig, Preset
from bitlm_core.models.presets import preset_config
from bitlm_core.training.config import TrainingConfig

MAX_THREADS = 16
_WORTH_IT = 1.1


@dataclass(frozen=True)
class Defaults(Report):
    """Arguments for init_model, train_step and serve, and what they rest on."""

    preset: str
    threads: int
    use_autocast: bool
    batch_size: int
    max_seq_len: int
    attention: str
    chunk_size: int | None
    reversible: bool
    bytes_per_second: float
    memory_estimate_mib: int
    free_memory_mib: int


def choose_defaults(preset: Preset, *, steps: int, free: int | None = None) -> Iterator[TrainSpeed | Defaults]:
    """Yields what was measured, and last what follows from it. `free`: bytes of free memory, if not as the machine tells."""
    free = free_memory_bytes() if free is None else free
    threads = [count for count in (1, 2, 4, 8, MAX_THREADS) if count <= (os.cpu_count() or 1)]
    measured = []
    for speed in train_speeds(grid(preset, "byte", {"threads": threads, "use_autocast": [True, False]}), steps=steps):
        measured.append(speed)
        yield speed
    best = _best(measured)
    model, estimate = longest_window(preset, best.case.training, int(SHARE_OF_FREE * free))
    yield Defaults(
        preset=preset,
        threads=best.case.threads,
        use_autocast=best.case.training.use_autocast,
        batch_size=best.case.training.batch_size,
        max_seq_len=model.max_seq_len,
        attention=model.attention,
        chunk_size=model.chunk_size,
        reversible=model.reversible,
        bytes_per_second=best.bytes_per_second,
        memory_estimate_mib=estimate >> 20,
        free_memory_mib=free >> 20,
    )


def longest_window(preset: Preset, training: TrainingConfig, limit: int) -> tuple[ModelConfig, int]:
    """The model with the longest window whose engine is estimated to need at most `limit` bytes, and the estimate.

    The preset's own window is the shortest that is tried, and what is returned when nothing fits.
    """
    shortest = preset_config(preset)
    length = MAX_POSITIONS
    while length > shortest.max_seq_len:
        for reversible in (False, True):
            model = preset_config(preset, max_seq_len=length, reversible=reversible)
            estimate = estimate_engine_bytes(EngineConfig(model=model, training=training))
            if estimate <= limit:
                return model, estimate
        length //= 2
    return shortest, estimate_engine_bytes(EngineConfig(model=shortest, training=training))


def _best(measured: list[TrainSpeed]) -> TrainSpeed:
    """The fastest, but of those with the fewest threads that come within a tenth of it."""
    fastest = max(speed.bytes_per_second for speed in measured)
    near = [speed for speed in measured if speed.bytes_per_second * _WORTH_IT >= fastest]
    fewest = min(speed.case.threads for speed in near)
    return max((speed for speed in near if speed.case.threads == fewest), key=lambda speed: speed.bytes_per_second)
