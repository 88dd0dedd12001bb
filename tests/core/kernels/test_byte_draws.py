"""Draws, compiled and interpreted, against `generation.sampling`."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import SamplingConfig
from bitlm_core.generation.sampling import byte_log_probs, draw_byte
from bitlm_core.kernels import byte_draws


class Fixed:
    """A generator whose next number is known; draws as numpy's `choice` does."""

    def __init__(self, u: float) -> None:
        self.u = u

    def choice(self, size: int, p: np.ndarray) -> int:
        cumulative = p.cumsum()
        return int((cumulative / cumulative[-1]).searchsorted(self.u, side="right"))


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the functions call is interpreted, too: compiled inner functions cannot be called from Python."""
    for name in ("softplus", "keep_top_p"):
        monkeypatch.setattr(byte_draws, name, getattr(byte_draws, name).py_func)


SETTINGS = [(1.0, 1.0), (0.3, 1.0), (2.5, 0.9), (0.8, 0.5), (1.0, 0.01), (0.0, 1.0), (1e-3, 1.0)]


@pytest.mark.parametrize(("temperature", "top_p"), SETTINGS)
def test_the_same_number_gives_the_same_byte(temperature: float, top_p: float) -> None:
    """The functions run interpreted here; that their compiled forms agree is seen where whole generations are compared."""
    random = np.random.default_rng(1)
    sampling = SamplingConfig(temperature=temperature, top_p=top_p)
    for _ in range(40):
        logits = random.normal(0, 2, 256).astype(np.float32)
        log_probs, u = np.zeros(256), float(random.random())
        byte_draws.byte_log_probs.py_func(logits.astype(np.float64), log_probs)
        expected = byte_log_probs(logits)
        np.testing.assert_allclose(log_probs, expected, rtol=1e-12)
        drawn = byte_draws.pick.py_func(log_probs, temperature, top_p, u, np.zeros((2, 256)))
        assert drawn == draw_byte(expected, sampling, None, Fixed(u))  # type: ignore[arg-type]


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_the_ends_of_the_line_are_bytes_with_some_probability(u: float) -> None:
    log_probs = np.full(256, -np.inf)
    log_probs[[65, 200]] = np.log(0.5)
    assert byte_draws.pick.py_func(log_probs, 1.0, 0.999, u, np.zeros((2, 256))) == (65 if u == 0 else 200)
