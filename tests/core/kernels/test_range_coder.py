"""The range coder: what it costs, its fewest bytes, its bounds, and its plain twin (the same source, interpreted)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_layout import Int, cached_kernel
from bitlm_core.kernels.range_coder import (
    AT,
    LOGIT_ONE,
    PROBABILITY_BITS,
    STATE_SIZE,
    Coder,
    decode_bit,
    encode_bit,
    finish_encoding,
    probability,
    rarities,
    start_decoding,
    start_encoding,
)

ONE = 1 << PROBABILITY_BITS


@cached_kernel
def encode(c: Coder, ps: NDArray[np.int64], bits: NDArray[np.int64]) -> Int:
    start_encoding(c)
    for i in range(bits.size):
        encode_bit(c, ps[i], bits[i])
    return finish_encoding(c)


@cached_kernel
def decode(c: Coder, ps: NDArray[np.int64], bits: NDArray[np.int64]) -> Int:
    start_decoding(c)
    for i in range(bits.size):
        bits[i] = decode_bit(c, ps[i])
    return c.state[AT]


@cached_kernel
def probabilities(rarity: NDArray[np.int32], logits: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    for i in range(logits.size):
        out[i] = probability(rarity, logits[i])


def coder(data: NDArray[np.uint8]) -> Coder:
    return Coder(np.zeros(STATE_SIZE, np.int64), data)


def coded(ps: NDArray[np.int64], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    room = np.full(4 * bits.size + 16, 0xAA, np.uint8)
    return room[: int(encode(coder(room), ps, bits))].copy()


def decoded(data: NDArray[np.uint8], ps: NDArray[np.int64]) -> NDArray[np.int64]:
    bits = np.zeros(ps.size, np.int64)
    decode(coder(data), ps, bits)
    return bits


def information(ps: NDArray[np.int64], bits: NDArray[np.int64]) -> float:
    return float(-np.log2(np.where(bits == 1, ps, ONE - ps) / ONE).sum())


def drawn(seed: int, kind: str, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    ps = {
        "any": rng.integers(1, ONE, size),
        "sure": np.where(rng.random(size) < 0.5, 1 + rng.integers(0, 9, size), ONE - 1 - rng.integers(0, 9, size)),
        "even": np.full(size, ONE // 2),
    }[kind]
    return ps, (rng.random(size) < ps / ONE).astype(np.int64)


@pytest.mark.parametrize("kind", ["any", "sure", "even"])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 40, 20_000])
def test_identity_within_a_byte_of_the_information(kind: str, size: int) -> None:
    for seed in range(40 if size < 100 else 2):
        ps, bits = drawn(seed, kind, size)
        data = coded(ps, bits)
        np.testing.assert_array_equal(decoded(data, ps), bits)
        # 2^-20 of each bit is what the registers round
        assert 8 * data.size < information(ps, bits) * (1 + 2**-20) + 8 + 1e-6 * size


def test_what_is_against_all_odds_is_coded_too() -> None:
    """Wrong bits, each at 24 bits; carries through many bytes; and a surprise at the end of certainty."""
    for ps in (np.full(500, 1), np.full(500, ONE - 1), np.tile([1, ONE - 1], 250)):
        for bits in (np.ones(500, np.int64), np.zeros(500, np.int64), np.arange(500) % 2, (np.arange(500) == 499) * 1):
            data = coded(ps, bits)
            np.testing.assert_array_equal(decoded(data, ps), bits)
            assert 8 * data.size < information(ps, bits) + 9


def test_very_predictable_bits_cost_what_they_should() -> None:
    """100,000 bits of 1e-5 bits each: one bit in all, so one byte at most."""
    rare = round(ONE * (1 - 2**-1e-5))
    assert coded(np.full(100_000, ONE - rare), np.ones(100_000, np.int64)).size <= 1


@pytest.mark.parametrize("seed", range(60))
def test_no_shorter_bytes_decode(seed: int) -> None:
    """The fewest: for short codes, by trying all that are one byte shorter."""
    ps, bits = drawn(seed, "any", 6)
    data = coded(ps, bits)
    assert data.size <= 3
    if 0 < data.size < 3:
        shorter = [np.frombuffer(i.to_bytes(data.size - 1, "big"), np.uint8).copy() for i in range(256 ** (data.size - 1))]
        assert not any(np.array_equal(decoded(other, ps), bits) for other in shorter)


def test_a_full_array_is_never_overrun() -> None:
    ps, bits = drawn(5, "even", 4000)
    whole = coded(ps, bits)
    for size in (0, 1, 5, 100, whole.size - 1, whole.size):
        guarded = np.full(whole.size + 64, 0x5A, np.uint8)
        needed = int(encode(coder(guarded[:size]), ps, bits))
        assert (guarded[size:] == 0x5A).all()
        assert needed >= whole.size and (needed > size) == (size < whole.size)


def test_any_bytes_decode_to_something_and_reading_ends_at_the_end() -> None:
    rng = np.random.default_rng(6)
    ps, _ = drawn(6, "any", 3000)
    for size in (0, 1, 4, 5, 200):
        data = rng.integers(0, 256, size, dtype=np.uint8)
        bits = decoded(data, ps)
        np.testing.assert_array_equal(bits, decoded(np.concatenate([data, np.zeros(9, np.uint8)]), ps))
        assert set(bits.tolist()) <= {0, 1}


def test_probabilities_are_close_monotonic_and_never_certain() -> None:
    logits = np.arange(-20_000, 20_001)
    p = np.zeros(logits.size, np.int64)
    probabilities(rarities(), logits, p)
    assert p.min() > 0 and p.max() < ONE
    assert (np.diff(p) >= 0).all()
    np.testing.assert_array_equal(p + p[::-1], ONE)
    inside = np.abs(logits) <= 15 * LOGIT_ONE
    q = 1 / (1 + np.exp(-logits[inside] / LOGIT_ONE))
    wasted = q * np.log(q / (p[inside] / ONE)) + (1 - q) * np.log((1 - q) / (1 - p[inside] / ONE))
    assert wasted.max() / math.log(2) < 1e-7  # bits per bit


def test_the_table_is_the_same_on_every_machine() -> None:
    assert zlib.crc32(rarities().astype("<i4").tobytes()) == 0xC56FC228


SCRIPT = """
import zlib
import numpy as np
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from tests.core.kernels.test_range_coder import coded, drawn, probabilities, rarities
parts = [coded(*drawn(seed, kind, 300)).tobytes() for seed in range(3) for kind in ("any", "sure", "even")]
out = np.zeros(500, np.int64)
probabilities(rarities(), np.arange(-20000, 20000, 80), out)
data = np.frombuffer(b"the plain twin of the coder is the coder, the plain twin ", np.uint8)
small = MixingConfig(memory_mib=4, history_bytes=4096)
mixer, other = ContextMixer(small), ContextMixer(small)
mixed = mixer.encode(data)
expert = np.random.default_rng(0).normal(0, 3, (20, 8)).astype(np.float32)
parts += [out.tobytes(), mixed, mixer.encode(data[:20], expert), mixer.encode(data[:20], learn=False)]
parts += [other.decode(np.frombuffer(mixed, np.uint8), data.size).tobytes()]
assert parts[-1] == data.tobytes()
print([zlib.crc32(part) for part in parts])
"""


def run(disable_jit: str) -> str:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": disable_jit, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiled_equals_interpreted() -> None:
    """Bit for bit; an overflow in the interpreter is a RuntimeWarning, hence an error here."""
    assert run("1") == run("0")
