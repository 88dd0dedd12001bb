"""What the machine can do at most, and how a figure is taken on a machine that others use too."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch

from bitlm_core.errors import ConfigError

GEMM_SIZE = {"cpu": 1024, "cuda": 8192}
"""Large enough for the full speed of each."""


def clock(threads: int, device: str = "cpu") -> Callable[[], float]:
    """Seconds: process CPU time on one thread, where other loads do not count; wall time on more, and on a GPU, whose work
    is waited for."""
    if device == "cuda":
        return _wall_when_idle
    return time.process_time if threads == 1 else time.perf_counter


def _wall_when_idle() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def require(device: str) -> None:
    """Raise ConfigError where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"torch {torch.__version__} finds no CUDA device on this machine: use the device cpu")


def describe(device: str = "cpu") -> str:
    """Machine and PyTorch in one line."""
    where = f"{platform.machine()} {platform.processor() or platform.system()}"
    where = f"{torch.cuda.get_device_name()}, {where}" if device == "cuda" else where
    return f"{where}, torch {torch.__version__}"


class Gemm:
    """A square matrix product, 2 n³ operations: the ceiling of everything that is made of matrix products."""

    def __init__(self, dtype: torch.dtype, device: str = "cpu") -> None:
        self._size = GEMM_SIZE[device]
        generator = torch.Generator(device).manual_seed(0)
        self._a, self._b = (torch.randn(self._size, self._size, generator=generator, device=device).to(dtype) for _ in range(2))

    def gflops(self, now: Callable[[], float], repeats: int = 4) -> float:
        """Billions of operations per second, now."""
        started = now()
        for _ in range(repeats):
            self._a @ self._b
        return repeats * 2 * self._size**3 / (now() - started) / 1e9


def typical(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)
