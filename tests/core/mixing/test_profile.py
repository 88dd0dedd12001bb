"""Each kind of data is taken for what it is, whatever its length."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bitlm_core.errors import ModelStateError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import Profile, profile_of

SMALL = MixingConfig(memory_mib=16)


def wave(channels: int, order: str) -> NDArray[np.uint8]:
    time = np.arange(6000)[:, None] / 20 + np.arange(channels) * 1.3
    noise = np.random.default_rng(0).normal(0, 60, (6000, channels))
    samples = (9000 * np.sin(time) * np.cos(time / 7) + noise).astype(f"{order}i2")
    return np.frombuffer(samples.tobytes(), np.uint8)


def image(width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:120, 0:width]
    noise = np.random.default_rng(1).normal(0, 4, (120, width))
    return np.clip(128 + 90 * np.sin(x / 23) * np.cos(y / 19) + noise, 0, 255).astype(np.uint8).ravel()


def records(period: int) -> NDArray[np.uint8]:
    rows = np.random.default_rng(2).integers(0, 256, (400, period), dtype=np.uint8)
    rows[:, :5] = [7, 0, 200, 1, 0]
    return rows.ravel()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.frombuffer(b"level=info msg=started\n" * 200, np.uint8), Profile(kind="text")),
        (np.frombuffer("Straße und Größe\n".encode() * 200, np.uint8), Profile(kind="text")),
        (np.zeros(0, np.uint8), Profile(kind="text")),
        (np.frombuffer(b"a short note", np.uint8), Profile(kind="text")),
        (np.frombuffer(b"\x00\x01\x02\x80", np.uint8), Profile(kind="records")),
        (np.random.default_rng(3).integers(0, 256, 9000, dtype=np.uint8), Profile(kind="records")),
        (records(37), Profile(kind="records", period=37)),
        (image(200), Profile(kind="bytes", period=200)),
        (wave(1, "<"), Profile(kind="words", stride=2)),
        (wave(1, ">"), Profile(kind="words", stride=2, big_endian=True)),
        (wave(2, "<"), Profile(kind="words", stride=4)),
    ],
)
def test_kinds_of_data(data: NDArray[np.uint8], expected: Profile) -> None:
    assert profile_of(data) == expected


@pytest.mark.parametrize("data", [records(37), image(200), wave(1, "<"), wave(1, ">"), wave(2, "<")])
def test_the_right_contexts_are_worth_it(data: NDArray[np.uint8]) -> None:
    def cost(profile: Profile) -> float:
        bits = np.unpackbits(data[:, None], axis=1)
        logits = ContextMixer(SMALL, profile).read(data)
        return float(np.logaddexp(0, np.where(bits == 1, -logits, logits)).sum())

    assert cost(profile_of(data)) < 0.99 * cost(Profile())


def test_records_without_rows_are_told_by_their_bytes() -> None:
    assert profile_of(records(37), rows=False) == Profile(kind="records")
    assert profile_of(wave(1, "<"), rows=False) == Profile(kind="records")
    assert profile_of(np.frombuffer(b"a line\n" * 900, np.uint8), rows=False) == Profile(kind="text")


def test_a_profile_is_chosen_before_anything_is_learned() -> None:
    mixer = ContextMixer(SMALL)
    chosen = Profile(kind="words", stride=4, big_endian=True)
    mixer.set_profile(chosen)
    assert mixer.profile == chosen
    mixer.read(np.zeros(3, np.uint8), learn=False)
    mixer.set_profile(Profile(kind="records", period=9))
    mixer.read(np.zeros(3, np.uint8))
    with pytest.raises(ModelStateError, match="3 bytes"):
        mixer.set_profile(chosen)
    assert mixer.profile == Profile(kind="records", period=9)
    assert mixer.copy().profile == mixer.profile
