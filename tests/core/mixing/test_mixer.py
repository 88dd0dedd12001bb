"""The context mixer: honest (no look-ahead), exact (same numbers by every route), restorable, and worth its place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.kernels.mixing_layout import HEAD, MATCH
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import Profile
from bitlm_core.mixing.tables import bit_histories

SMALL = MixingConfig(memory_mib=8, history_bytes=1 << 16)
TEXT = np.frombuffer(
    b"It was the best of times, it was the worst of times, it was the age of wisdom,\n"
    b"it was the age of foolishness, it was the epoch of belief, it was the epoch of incredulity,\n" * 3,
    np.uint8,
)


def bits_per_byte(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> float:
    bits = np.unpackbits(data[:, None], axis=1)
    signed = np.where(bits == 1, logits, -logits).astype(np.float64)
    return float(np.logaddexp(0, -signed).sum() / np.log(2) / data.size)


def random_bytes(n: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8)


def trained() -> ContextMixer:
    mixer = ContextMixer(SMALL)
    mixer.read(TEXT)
    return mixer


def path(nodes: NDArray[np.float32], byte: int) -> NDArray[np.float32]:
    return np.array([nodes[(1 << k) | (byte >> (8 - k))] for k in range(8)])


def changed(before: dict[str, NDArray[np.generic]], mixer: ContextMixer) -> set[str]:
    return {name for name, array in mixer.state_arrays().items() if not np.array_equal(array, before[name])}


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("with_expert", [True, False])
def test_nodes_are_what_read_returns(learn: bool, with_expert: bool) -> None:
    mixer = trained()
    rng = np.random.default_rng(1)
    for byte in np.concatenate([TEXT[:40], random_bytes(20, 2)]):
        tree = rng.normal(0, 4, 256).astype(np.float32) if with_expert else None
        nodes = mixer.node_logits(tree)
        expert = path(tree, int(byte))[None] if tree is not None else None
        got = mixer.read(np.array([byte]), expert, learn=learn)
        np.testing.assert_array_equal(got[0], path(nodes, int(byte)))
        assert nodes[0] == 0


def test_nodes_change_nothing_and_are_normalised() -> None:
    mixer = trained()
    before = mixer.state_arrays()
    p = 1 / (1 + np.exp(-mixer.node_logits().astype(np.float64)))
    assert changed(before, mixer) == set()
    total = 0.0
    for byte in range(256):
        steps = path(p, byte)
        bits = np.unpackbits(np.array([byte], np.uint8))
        total += np.prod(np.where(bits == 1, steps, 1 - steps))
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("learn", [True, False])
def test_no_look_ahead(learn: bool) -> None:
    data = np.concatenate([TEXT[:200], random_bytes(60, 3), TEXT[:100]])
    reference = trained().read(data, learn=learn)
    rng = np.random.default_rng(4)
    for _ in range(12):
        at, bit = int(rng.integers(data.size)), int(rng.integers(8))
        other = data.copy()
        other[at] ^= 1 << (7 - bit)
        other[at + 1 :] = random_bytes(data.size - at - 1, at)
        got = trained().read(other, learn=learn)
        np.testing.assert_array_equal(got[:at], reference[:at])
        np.testing.assert_array_equal(got[at, : bit + 1], reference[at, : bit + 1])


def test_one_call_or_many() -> None:
    whole = ContextMixer(SMALL).read(TEXT)
    mixer = ContextMixer(SMALL)
    parts = [mixer.read(part) for part in np.array_split(TEXT, 17)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert mixer.bytes_learned == TEXT.size


def test_static_reading_learns_nothing_but_follows() -> None:
    mixer = trained()
    before, learned = mixer.state_arrays(), mixer.bytes_learned
    mixer.start_document()
    logits = mixer.read(TEXT, learn=False)
    assert changed(before, mixer) <= {"recent", "fields", "context"}
    assert mixer.bytes_learned == learned
    assert bits_per_byte(logits[100:], TEXT[100:]) < 0.1  # matches run through the frozen history


def test_a_copy_is_independent_and_continues_alike() -> None:
    mixer = trained()
    twin = mixer.copy()
    before = mixer.state_arrays()
    first = twin.read(random_bytes(300, 5))
    assert changed(before, mixer) == set()
    np.testing.assert_array_equal(mixer.read(random_bytes(300, 5)), first)


def test_state_survives_a_round_trip() -> None:
    mixer = trained()
    other = ContextMixer(SMALL)
    arrays = mixer.state_arrays()
    other.load_state_arrays(arrays)
    arrays["slots"][:] = 1  # the mixer must have taken a copy
    assert other.bytes_learned == mixer.bytes_learned
    np.testing.assert_array_equal(other.read(TEXT), mixer.read(TEXT))


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    mixer = trained()
    good = mixer.state_arrays()
    head_out = good["context"].copy()
    head_out[0] = 1 << 40
    broken = [
        {k: v for k, v in good.items() if k != "apm"},
        {**good, "extra": np.zeros(1)},
        {**good, "uses": good["uses"][:-1]},
        {**good, "weights": good["weights"].astype(np.int64)},
        {**good, "uses": good["uses"] + 5000},
        {**good, "match_table": good["match_table"] + (1 << 30)},
        {**good, "slots": np.ones_like(good["slots"])},
        {**good, "context": head_out},
    ]
    for arrays in broken:
        with pytest.raises(ModelStateError):
            mixer.load_state_arrays(arrays)
        assert changed(good, mixer) == set()
    with pytest.raises(ModelStateError, match="memory_mib=9"):
        ContextMixer(MixingConfig(memory_mib=9)).load_state_arrays(good)


def test_repetition_is_learned() -> None:
    block = random_bytes(400, 6) % 64 + 32
    mixer = ContextMixer(SMALL)
    costs = [bits_per_byte(mixer.read(block), block) for _ in range(3)]
    assert costs[2] < 0.1 < costs[0]


def test_random_bytes_cost_little_more_than_eight_bits() -> None:
    data = random_bytes(20000, 7)
    assert 8.0 <= bits_per_byte(ContextMixer(SMALL).read(data), data) < 8.05


def test_a_good_expert_is_followed() -> None:
    data = random_bytes(2000, 8)  # nothing to learn but the expert
    expert = (12.0 * np.unpackbits(data[:, None], axis=1) - 6.0).astype(np.float32)
    logits = ContextMixer(SMALL).read(data, expert)
    assert bits_per_byte(logits[:100], data[:100]) < 2
    assert bits_per_byte(logits[500:], data[500:]) < 0.15


def test_a_useless_expert_costs_little() -> None:
    rng = np.random.default_rng(9)
    words = [bytes(rng.integers(97, 123, int(rng.integers(2, 9)), dtype=np.uint8)) for _ in range(200)]
    data = np.frombuffer(b" ".join(words[i] for i in rng.integers(0, 200, 4000)), np.uint8)
    garbage = rng.normal(0, 3, (data.size, 8)).astype(np.float32)
    alone = bits_per_byte(ContextMixer(SMALL).read(data), data)
    assert bits_per_byte(ContextMixer(SMALL).read(data, garbage), data) < 1.02 * alone


def test_a_full_history_wraps() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=1 << 12))
    mixer.read(random_bytes(10000, 10))
    block = random_bytes(300, 11)
    mixer.read(block)
    assert bits_per_byte(mixer.read(block), block) < 1


def test_a_new_document_forgets_the_context_only() -> None:
    mixer = trained()
    before = mixer.state_arrays()
    fresh = ContextMixer(SMALL).state_arrays()
    mixer.start_document()
    assert changed(before, mixer) == {"recent", "fields", "context"}
    assert not mixer.state_arrays()["recent"].any()
    np.testing.assert_array_equal(mixer.state_arrays()["context"][HEAD + 2 :], fresh["context"][HEAD + 2 :])


def test_matches_work_on_after_many_laps_of_the_ring() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096))
    for lap in range(100):
        mixer.read(random_bytes(1000, lap))
        context = mixer.own_arrays["context"]
        assert (context[MATCH::3] != context[HEAD]).all()
    block = random_bytes(500, 1000)
    first, again = (bits_per_byte(mixer.read(block), block) for _ in range(2))
    assert first > 7.9 and again < 1.0


def test_a_match_read_without_learning_stops_at_the_head() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096))
    data = random_bytes(3000, 0)
    mixer.read(data)
    mixer.read(data[-200:], learn=False)
    assert (mixer.own_arrays["context"][MATCH::3] == -1).all()


def test_empty_input() -> None:
    mixer = trained()
    before = mixer.state_arrays()
    assert mixer.read(np.zeros(0, np.uint8)).shape == (0, 8)
    assert changed(before, mixer) == set()


@pytest.mark.parametrize("data", [np.zeros(4, np.int64), np.zeros((2, 2), np.uint8), b"abc"])
def test_wrong_data_is_refused(data: object) -> None:
    with pytest.raises(ConfigError, match="uint8"):
        ContextMixer(SMALL).read(data)  # type: ignore[arg-type]


def test_wrong_experts_are_refused() -> None:
    mixer = ContextMixer(SMALL)
    for expert in (np.zeros((3, 8), np.float32), np.zeros((2, 8))):
        with pytest.raises(ConfigError, match="float32"):
            mixer.read(TEXT[:2], expert)  # type: ignore[arg-type]
    with pytest.raises(ModelStateError, match="NaN"):
        mixer.node_logits(np.full(256, np.nan, np.float32))
    assert np.isfinite(mixer.node_logits(np.full(256, np.inf, np.float32))).all()


@pytest.mark.parametrize("bad", [{"memory_mib": 7}, {"memory_mib": 1025}, {"history_bytes": 10}, {"unknown": 1}])
def test_configuration_bounds(bad: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        MixingConfig(**bad)


@pytest.mark.parametrize("mib", [8, 16])
def test_memory_is_what_was_announced(mib: int) -> None:
    config = MixingConfig(memory_mib=mib)
    held = sum(array.nbytes for array in ContextMixer(config).state_arrays().values())
    assert held == ContextMixer.memory_bytes(config)
    assert 0.99 * (mib << 20) < held <= mib << 20


def test_bit_histories_fit_a_byte_and_count() -> None:
    following, counts = bit_histories()
    state = 0
    for bit in (1, 1, 0, 1):
        state = int(following[state, bit])
    assert counts[state].tolist() == [1, 3]
    for _ in range(100):
        state = int(following[state, 0])
    assert counts[state].tolist() == [12, 2]  # old evidence gives way


@pytest.mark.parametrize("profile", [Profile(), Profile(kind="records", period=5), Profile(kind="words", stride=2)])
def test_what_is_passed_over_is_context_as_if_it_were_read(text: bytes, profile: Profile) -> None:
    data = np.frombuffer(text[:3000], np.uint8)
    reading = ContextMixer(MixingConfig(memory_mib=8), profile)
    reading.read(data[:1500])
    passing = reading.copy()
    reading.read(data[1000:2500], learn=False)
    passing.pass_over(data[1000:2500])
    for name, array in reading.state_arrays().items():
        assert np.array_equal(array, passing.state_arrays()[name]), name
    assert np.array_equal(reading.read(data[2500:], learn=False), passing.read(data[2500:], learn=False))
    with pytest.raises(ConfigError):
        passing.pass_over(np.zeros((2, 2), np.uint8))
