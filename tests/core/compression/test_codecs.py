"""General codecs: what comes back is what went in; bombs, damage, and a library that is not there."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.codec import compress_bits
from bitlm_core.compression import codecs as module
from bitlm_core.compression.codecs import BLOCK, general_codec
from bitlm_core.errors import CodecError, ConfigError, ResourceLimitError, RunLengthError
from bitlm_core.steps import finished

NAMES = ["rle", "zlib", "lzma", "zstd"]
SOME = b"the quick brown fox, and " * 40 + bytes(3000) + bytes(range(256))


def coded(name: str, data: bytes) -> bytes:
    return finished(general_codec(name).encode_steps(np.frombuffer(data, np.uint8)))


def decoded(name: str, data: bytes, max_bytes: int = 1 << 22) -> bytes:
    return finished(general_codec(name).decode_steps(data, max_bytes))


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.binary(max_size=300), st.integers(0, 3000))
def test_any_bytes_come_back(name, data, zeros):
    whole = data + bytes(zeros) + data
    assert decoded(name, coded(name, whole), len(whole)) == whole


@pytest.mark.parametrize("name", NAMES)
def test_more_than_one_block_comes_back_and_shares_are_told(name):
    data = SOME * (BLOCK // len(SOME) + 1)
    codec, shares = general_codec(name), []
    steps = codec.encode_steps(np.frombuffer(data, np.uint8))
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as stop:
            made = stop.value
            break
    assert len(shares) == 2 and sorted(shares) == shares and 0 <= shares[0] <= shares[1] <= 1
    assert len(made) < len(data) and decoded(name, made) == data
    assert codec.name == name


def test_run_lengths_of_noise_are_hardly_larger():
    noise = np.random.default_rng(0).bytes(BLOCK + 5)
    assert len(coded("rle", noise)) == len(noise) + (4 + 1 + 3 + 4) + (4 + 1 + 1 + 4)
    assert coded("rle", b"") == b"\x00\x00\x00\x80"


@pytest.mark.parametrize("name", NAMES)
def test_bombs_are_stopped_in_time(name):
    made = coded(name, bytes(1 << 22))
    with pytest.raises(ResourceLimitError) as caught:
        decoded(name, made, 1000)
    assert (caught.value.estimate, caught.value.limit) == (1001, 1000)
    assert decoded(name, made, 1 << 22) == bytes(1 << 22)


def test_a_bomb_of_one_huge_block_takes_no_more_memory_than_a_few_bytes_can_make():
    declared = b"\x28\xb5\x2f\xfd\x00\x58" + (b"\x02\x00\x10" + b"\x00") * 2000  # 2000 blocks of 128 KiB of zeros each
    with pytest.raises(ResourceLimitError) as caught:
        decoded("zstd", declared, 1000)
    assert caught.value.limit == 1000


@pytest.mark.parametrize("name", NAMES)
def test_every_single_damage_is_told_with_an_offset(name):
    made = coded(name, SOME)
    random = np.random.default_rng(1)
    for at in {0, 1, 4, 5, len(made) - 1, *random.integers(0, len(made), 30).tolist()}:
        flipped = bytearray(made)
        flipped[at] ^= 1 << int(random.integers(8))
        for damaged in (bytes(flipped), made[:at]):
            try:
                found = decoded(name, damaged)
            except (CodecError, ResourceLimitError) as error:
                assert isinstance(error, ResourceLimitError) or 0 <= error.offset <= len(made)
            else:  # a bit that says nothing
                assert found == SOME
    with pytest.raises(CodecError) as caught:
        decoded(name, made[:-1])
    assert caught.value.offset == (0 if name == "rle" else len(made) - 1)
    with pytest.raises(CodecError) as caught:
        decoded(name, made + b"\x00")
    assert caught.value.offset == len(made)


@pytest.mark.parametrize(
    ("block", "offset", "text"),
    [
        (compress_bits(np.zeros(8 * BLOCK + 1, np.uint8)).tobytes(), 4, "none holds so many"),
        (compress_bits(np.zeros(12, np.uint8)).tobytes(), 4, "no whole bytes"),
        (compress_bits(np.zeros(16, np.uint8)).tobytes()[:-1], 4 + 6, "at byte 10; in its block from 4"),
    ],
)
def test_blocks_that_no_encoder_writes_are_refused(block, offset, text):
    with pytest.raises(CodecError, match=text) as caught:
        decoded("rle", struct.pack("<I", len(block) | 1 << 31) + block)
    assert caught.value.offset == offset
    assert isinstance(caught.value, RunLengthError) == ("in its block" in text)


def test_a_missing_block_is_noticed():
    made = coded("rle", bytes(2 * BLOCK))
    first = 4 + int.from_bytes(made[:4], "little")
    with pytest.raises(CodecError) as caught:
        decoded("rle", made[:first])
    assert caught.value.offset == first
    assert decoded("rle", made) == bytes(2 * BLOCK)


def test_what_one_codec_made_is_refused_by_the_others():
    for name in NAMES:
        for other in set(NAMES) - {name}:
            with pytest.raises(CodecError):
                decoded(other, coded(name, SOME))


def test_unknown_names_and_an_absent_library_are_told(monkeypatch):
    with pytest.raises(ConfigError, match="choose one of rle, zlib, lzma, zstd") as caught:
        general_codec("gzip")
    assert caught.value.value == "gzip"
    monkeypatch.setattr(module, "_zstandard", None)
    monkeypatch.setattr(module, "_absent", "no build for this machine")
    with pytest.raises(ConfigError, match=r"cannot be loaded \(no build for this machine\)"):
        general_codec("zstd")
    assert general_codec("zlib").name == "zlib"


def test_what_a_library_cannot_code_is_an_error_that_says_so():
    def refuse(_size):
        raise zlib.error("out of order")

    broken = module.Library("zlib", refuse, zlib.decompressobj, zlib.error)
    with pytest.raises(CodecError, match="could not code 3 bytes"):
        finished(broken.encode_steps(np.zeros(3, np.uint8)))


def test_general_codecs_bring_neither_numba_nor_torch():
    code = "import sys, bitlm_core; bitlm_core.general_codec('zlib'); assert not {'numba', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
