"""What compression without a model reaches on given files: each is really coded, decoded and compared. No torch in here.

Seconds are of process CPU time, of coding alone. Kernels are compiled before any clock runs.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitlm_core.compression.decompress import decompress_steps
from bitlm_core.compression.self_contained import compress_steps
from bitlm_core.errors import BitLMError, ConfigError
from bitlm_core.steps import finished

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class WrongOutputError(BitLMError):
    """Something else was decoded than was coded: a defect, and what these benchmarks must never hide."""


@dataclass(frozen=True)
class FileFigures:
    """One file: container's bits per byte, CPU seconds of coding and of decoding, and the most that the process held."""

    name: str
    num_bytes: int
    bpb: float
    seconds: float
    decode_seconds: float
    peak_bytes: int


def file_figures(paths: Sequence[Path], *, memory_mib: int | None = None, lanes: int = 1) -> Iterator[FileFigures]:
    """Code each file, decode it, and compare. Raises ConfigError for an empty file, WrongOutputError."""
    finished(compress_steps(np.zeros(1, np.uint8)))
    for path in paths:
        data = np.fromfile(path, np.uint8)
        if not len(data):
            raise ConfigError(f"{path} is empty (0 bytes): there are no bits per byte of nothing, leave it out")
        _reset_peak()
        started = time.process_time()
        container = finished(compress_steps(data, memory_mib=memory_mib, lanes=lanes))
        coded = time.process_time()
        found = finished(decompress_steps(container))
        decoded = time.process_time()
        if not np.array_equal(found, data):
            raise WrongOutputError(f"{path} was decoded to something else")
        bpb = 8 * len(container) / len(data)
        yield FileFigures(path.name, len(data), bpb, coded - started, decoded - coded, _peak_bytes())


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios. Raises ValueError for none."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _reset_peak() -> None:
    """Let the system forget how much this process once held, where it can."""
    with suppress(OSError):
        _RESET.write_text("5")


def _peak_bytes() -> int:
    """The most that this process held since then; where the system does not forget, since its start."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
