"""What each codec makes of a file, and how fast: coded, decoded and compared, by process CPU time, on one thread.

    in, out     10⁶ raw bytes per CPU second, of coding and of decoding
    bits        the run-length code alone, on arrays of bits: 10⁶ bits, each a byte of the array, per CPU second; an eighth of
                that is packed bytes. random: nothing can be saved. sparse: 5 % are set, so runs are many and short, its
                slowest. zeros: one long run

What is quick is repeated until it took a fifth of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from bitlm_core.bench.coding import WrongOutputError
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Figure, Report
from bitlm_core.codec.runlength import compress_bits, decompress_bits
from bitlm_core.compression.codecs import CodecName
from bitlm_core.compression.coded import codec_of
from bitlm_core.errors import ConfigError
from bitlm_core.steps import finished

LEAST_SECONDS = 0.2
NUM_BITS = 1 << 26
SPARSE = 0.05

Returned = TypeVar("Returned")


@dataclass(frozen=True)
class CodecFigures:
    """One codec on the file, in 10⁶ raw bytes per CPU second, or run lengths of `bits_…`, in 10⁶ bits; compressed / raw."""

    name: str
    ratio: float
    in_mb_s: float
    out_mb_s: float


@dataclass(frozen=True)
class CodecsReport(Report):
    """All codecs, then run lengths of bits."""

    codecs: tuple[CodecFigures, ...]
    num_bytes: int
    machine: str

    def flat(self) -> dict[str, Figure]:
        """Figures by their names and the codec's: `ratio_zstd`, `in_mb_s_zstd`, `ratio_bits_random`."""
        found: dict[str, Figure] = {}
        for codec in self.codecs:
            for what in ("ratio", "in_mb_s", "out_mb_s"):
                found[f"{what}_{codec.name}"] = round(getattr(codec, what), 4)
        return found | {"num_bytes": self.num_bytes, "machine": self.machine}


def codec_bench_steps(
    data: bytes, codecs: tuple[str, ...] = get_args(CodecName), *, num_bits: int = NUM_BITS
) -> Iterator[float | CodecsReport]:
    """Yields the share done after each codec, and last the report.

    Raises ConfigError, before anything is measured, for no data and for names of no codec; WrongOutputError.
    """
    if not data or not codecs:
        raise ConfigError(f"{len(data)} bytes and {len(codecs)} codecs: there is nothing to measure, give at least one of each")
    for name in codecs:
        codec_of(name)
    array, measured = np.frombuffer(data, np.uint8), []
    for name in codecs:
        measured.append(_measured(name, array))
        yield len(measured) / (len(codecs) + 1)
    yield CodecsReport((*measured, *_of_bits(num_bits)), len(data), describe())


def _measured(name: str, data: NDArray[np.uint8]) -> CodecFigures:
    codec = codec_of(name)
    warm = data[:64]  # compiles what has to be, before a clock runs
    finished(codec.decode_steps(finished(codec.encode_steps(warm)), len(warm)))
    coded, coding = _timed(lambda: finished(codec.encode_steps(data)))
    found, decoding = _timed(lambda: finished(codec.decode_steps(coded, len(data))))
    if found != data.tobytes():
        raise WrongOutputError(f"{name} decoded something else than it had coded")
    return CodecFigures(name, len(coded) / len(data), len(data) / coding / 1e6, len(data) / decoding / 1e6)


def _of_bits(num_bits: int) -> Generator[CodecFigures, None, None]:
    random = np.random.default_rng(0)
    kinds: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "random": lambda: random.integers(0, 2, num_bits, dtype=np.uint8),
        "sparse": lambda: (random.random(num_bits, dtype=np.float32) < SPARSE).astype(np.uint8),
        "zeros": lambda: np.zeros(num_bits, np.uint8),
    }
    for name, make in kinds.items():
        bits = make()
        stream, coding = _timed(lambda: compress_bits(bits))  # noqa: B023 - called at once
        found, decoding = _timed(lambda: decompress_bits(stream))  # noqa: B023 - called at once
        if not np.array_equal(found, bits):
            raise WrongOutputError(f"run lengths of {name} bits were decoded to something else")
        yield CodecFigures(f"bits_{name}", 8 * len(stream) / num_bits, num_bits / coding / 1e6, num_bits / decoding / 1e6)


def _timed(work: Callable[[], Returned]) -> tuple[Returned, float]:
    """What it returns, and the CPU seconds that it takes, on average."""
    started, times = time.process_time(), 0
    while True:
        found = work()
        times += 1
        seconds = time.process_time() - started
        if seconds >= LEAST_SECONDS:
            return found, seconds / times
