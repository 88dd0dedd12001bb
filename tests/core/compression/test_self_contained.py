"""Compression without a model: exact, small, and never much larger than what went in."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from bitlm_core.compression import self_contained
from bitlm_core.compression.container import DecoderLimits
from bitlm_core.compression.decompress import container_info, decompress_record, decompress_steps
from bitlm_core.compression.self_contained import compress_steps, config_for
from bitlm_core.errors import ConfigError, ContainerError, ResourceLimitError
from bitlm_core.mixing.config import MixingConfig
from tests.conftest import run
from tests.core.compression.samples import LINES, array, noise

CASES = {"nothing": b"", "one": b"x", "two": b"\xff\x00", "zeros": bytes(5000), "lines": LINES, "noise": noise(3000)}
EDGE = {
    "two runs": b"x" * 10 + b"y" * 10,
    "a run": b"x" * 64,
    "pangram": b"The quick brown fox jumps over the lazy dog",
    "packed": zlib.compress(LINES, 9),
    "a repeat 65,536 bytes back": noise(256) + bytes((1 << 16) - 256) + noise(256),
}


def compressed(data: bytes, **options: object) -> bytes:
    return run(compress_steps(array(data), **options))  # type: ignore[arg-type]


def decompressed(container: bytes, **options: object) -> bytes:
    return run(decompress_steps(container, **options)).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_identity_and_bounded_expansion(case: str, lanes: int) -> None:
    data = CASES[case]
    container = compressed(data, lanes=lanes, memory_mib=8)
    assert decompressed(container) == data
    assert len(container) <= len(data) + 64
    assert container == compressed(data, lanes=lanes, memory_mib=8)
    info = container_info(container)
    assert (info.num_bytes, info.needs_model) == (len(data), False)
    assert info.mode == ("self-contained" if case in ("zeros", "lines") else "stored")
    assert info.lanes == (lanes if info.mode == "self-contained" else 1)


def test_it_compresses() -> None:
    assert len(compressed(LINES)) < 0.75 * len(zlib.compress(LINES, 9))
    assert len(compressed(bytes(5000))) < 60


@pytest.mark.parametrize("case", EDGE)
def test_the_edge_cases(case: str) -> None:
    data = EDGE[case]
    container = compressed(data)
    assert decompressed(container) == data
    assert len(container) <= len(data) + 64


def test_more_zeros_than_a_reader_would_believe_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("container", "lanes"):
        monkeypatch.setattr(f"bitlm_core.compression.{module}.BYTES_PER_CODED_BYTE", 50)
    container = compressed(bytes(5000))
    assert decompressed(container) == bytes(5000)


def test_lanes_in_threads_make_the_same_container() -> None:
    def in_threads(work: Callable[[int], None], lanes: Iterable[int]) -> Iterator[None]:
        return pool.map(work, lanes)

    with ThreadPoolExecutor(2) as pool:
        container = compressed(LINES, lanes=2, run=in_threads)
        assert container == compressed(LINES, lanes=2)
        assert decompressed(container, run=in_threads) == LINES


def test_steps_tell_the_share() -> None:
    data = array(bytes(80_000))
    shares = list(compress_steps(data))
    assert shares == sorted(shares) and len(shares) == 3 and shares[-1] == 1.0
    assert len(list(decompress_steps(run(compress_steps(data))))) == 3


def test_memory_follows_the_data_and_the_caller_s_limits() -> None:
    assert [config_for(size, None).memory_mib for size in (0, 10**5, 10**6, 10**8)] == [8, 32, 160, 160]
    assert config_for(10**6, 16) == MixingConfig(memory_mib=16)
    container = compressed(LINES, lanes=2, memory_mib=8)
    assert decompressed(container, limits=DecoderLimits(len(LINES), 16)) == LINES
    with pytest.raises(ResourceLimitError, match="16 MiB"):
        decompressed(container, limits=DecoderLimits(len(LINES), 15))
    with pytest.raises(ResourceLimitError, match="that are allowed"):
        decompressed(container, limits=DecoderLimits(len(LINES) - 1, 16))


def test_bad_arguments_are_refused() -> None:
    for options in ({"lanes": 0}, {"lanes": 65}, {"memory_mib": 3}, {"memory_mib": 1025}):
        with pytest.raises(ConfigError):
            compressed(LINES, **options)
    huge = np.broadcast_to(np.zeros(1, np.uint8), ((1 << 31) + 1,))
    with pytest.raises(ResourceLimitError, match="2,147,483,649 bytes"):
        next(compress_steps(huge))


def test_damaged_content_is_never_given_out() -> None:
    """Of the last byte of a code not every bit matters: then what comes out is right."""
    for data in (LINES, noise(500)):
        container = bytearray(compressed(data))
        for at in range(len(container) - 3, 40, -29):
            container[at] ^= 4
            with pytest.raises(ContainerError) as caught:
                decompressed(bytes(container))
            assert caught.value.reason == "damaged"
            container[at] ^= 4
        for bit in range(8):
            container[-1] ^= 1 << bit
            with suppress(ContainerError):
                assert decompressed(bytes(container)) == data
            container[-1] ^= 1 << bit


def test_another_arithmetic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    container = compressed(LINES)
    monkeypatch.setattr(self_contained, "fingerprint", lambda config, profile: b"else")
    with pytest.raises(ContainerError, match="version of bitlm") as caught:
        decompressed(container)
    assert caught.value.reason == "version"


def test_no_records_in_one_stream() -> None:
    with pytest.raises(ConfigError, match="record by record"):
        decompress_record(compressed(LINES), None, 0)
