"""What the machine can do at most, and how a figure is taken on a machine that others use too."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch

GEMM_SIZE = 1024


def clock(threads: int) -> Callable[[], float]:
    """Seconds: process CPU time on one thread, where other loads do not count; wall time on more."""
    return time.process_time if threads == 1 else time.perf_counter


def describe() -> str:
    """Machine and PyTorch in one line."""
    return f"{platform.machine()} {platform.processor() or platform.system()}, torch {torch.__version__}"


class Gemm:
    """A square matrix product on the CPU, 2 n³ operations: the ceiling of everything that is made of matrix products."""

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        self._a, self._b = (torch.randn(GEMM_SIZE, GEMM_SIZE, generator=generator).to(dtype) for _ in range(2))

    def gflops(self, now: Callable[[], float], repeats: int = 4) -> float:
        """Billions of operations per second, now."""
        started = now()
        for _ in range(repeats):
            self._a @ self._b
        return repeats * 2 * GEMM_SIZE**3 / (now() - started) / 1e9


def typical(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)
