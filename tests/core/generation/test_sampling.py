"""Sampling: each option by hand, and UTF-8 against Python's own decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core import SamplingConfig
from bitlm_core.generation.sampling import Utf8State, byte_log_probs, draw_byte, keep_top_p
from bitlm_core.models.output import byte_log_probs as torch_twin

EXAMPLES = settings(derandomize=True, deadline=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def peaked(*bytes_: int) -> np.ndarray:
    probs = np.full(256, 1e-9)
    for place, byte in enumerate(bytes_):
        probs[byte] = 0.5 ** (place + 1)
    return np.log(probs / probs.sum())


def test_log_probs_are_those_of_the_tree() -> None:
    nodes = rng().normal(0, 4, 256).astype(np.float32)
    twin = torch_twin(torch.from_numpy(nodes).double()).numpy()
    np.testing.assert_allclose(byte_log_probs(nodes), twin, rtol=1e-12)
    assert np.exp(byte_log_probs(nodes)).sum() == pytest.approx(1.0)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draw_byte(peaked(65, 66), SamplingConfig(temperature=0), None, rng()) == 65
    only = np.zeros(256, np.bool_)
    only[66] = True
    assert draw_byte(peaked(65, 66), SamplingConfig(temperature=0), only, rng()) == 66


def test_a_temperature_close_to_zero_takes_the_likeliest() -> None:
    for temperature in (1e-3, 1e-200, 5e-324):
        assert draw_byte(peaked(65, 66), SamplingConfig(temperature=temperature), None, rng()) == 65


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    probs = np.zeros(256)
    probs[:4] = 0.4, 0.3, 0.2, 0.1
    np.testing.assert_allclose(keep_top_p(probs, 0.7)[:4], [4 / 7, 3 / 7, 0, 0])
    np.testing.assert_allclose(keep_top_p(probs, 0.71)[:4], [4 / 9, 3 / 9, 2 / 9, 0])
    np.testing.assert_allclose(keep_top_p(probs, 1e-9)[:4], [1, 0, 0, 0])


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.8), (0.5, 0.8**2 / (0.8**2 + 0.2**2))])
def test_draws_follow_the_tempered_distribution(temperature: float, share: float) -> None:
    log_probs = np.full(256, -np.inf)
    log_probs[[65, 66]] = np.log([0.8, 0.2])
    random, n = rng(1), 4000
    count = sum(draw_byte(log_probs, SamplingConfig(temperature=temperature), None, random) == 65 for _ in range(n))
    # Six standard deviations: a false alarm is rarer than 1e-8.
    assert abs(count - n * share) < 6 * (n * share * (1 - share)) ** 0.5


@EXAMPLES
@given(st.text(max_size=4), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_the_constraint_always_completes_valid_utf8(prompt: str, cut: int, seed: int) -> None:
    """From any beginning of a valid text, also one that ends within a character."""
    state, random, written = Utf8State(), rng(seed), bytearray(prompt.encode()[: max(0, len(prompt.encode()) - cut)])
    for byte in written:
        state.read(byte)
    length = 20
    for index in range(length):
        byte = int(random.choice(np.flatnonzero(state.allowed(length - index))))
        state.read(byte)
        written.append(byte)
    assert bytes(written).decode("utf-8")


@EXAMPLES
@given(st.text(min_size=1, max_size=30))
def test_the_constraint_allows_every_valid_text(text: str) -> None:
    state, data = Utf8State(), text.encode()
    for index, byte in enumerate(data):
        assert state.allowed(len(data) - index)[byte]
        state.read(byte)


@pytest.mark.parametrize("invalid", [b"\x80", b"\xc0", b"\xc1", b"\xe0\x80", b"\xed\xa0", b"\xf0\x80", b"\xf4\x90", b"\xf5"])
def test_the_constraint_forbids_what_utf8_forbids(invalid: bytes) -> None:
    state = Utf8State()
    for byte in invalid[:-1]:
        assert state.allowed(4)[byte]
        state.read(byte)
    assert not state.allowed(4)[invalid[-1]]
