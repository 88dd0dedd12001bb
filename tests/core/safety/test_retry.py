"""safe_sample: what is tried in which order, what is skipped and why, and what comes of it."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest

from bitlm_core import (
    ConfigError,
    Engine,
    Floors,
    Gate,
    Generation,
    SafetyGateError,
    SamplingConfig,
    Verdict,
    bytes_to_bits,
    safe_sample,
)
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.filling import FillingState
from bitlm_core.generation.template import Template
from bitlm_core.safety.gate import judge
from bitlm_core.safety.retry import MAX_ATTEMPTS
from bitlm_core.safety.session import BURN_IN
from bitlm_core.telemetry import byte_histogram

GOOD = b"It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness"
BAD, WORSE = b"It was the w" * 10, b"\x80" * 120
REFERENCE = byte_histogram(GOOD)


class Scripted:
    """A model that says what it is told to, and notes how it was asked."""

    def __init__(self, *says: bytes, diffusion_steps: int = 0, max_bytes: int = 200) -> None:
        self.says, self.asked = list(says), list[tuple[Any, ...]]()
        self.diffusion_steps = diffusion_steps
        self.model: Any = SimpleNamespace(config=SimpleNamespace(max_bytes=max_bytes))

    def _next(self) -> Generator[float, None, tuple[Generation, Verdict | None]]:
        yield 1.0
        return self._made()

    def _made(self) -> tuple[Generation, Verdict | None]:
        data = self.says.pop(0)
        return Generation(data, 1.0), judge(bytes_to_bits(data), REFERENCE, Floors())

    def infer_steps(self, prompt: bytes, max_new_bytes: int, sampling: SamplingConfig, safety: str) -> Any:
        self.asked.append((sampling.seed, round(sampling.temperature, 9)))
        return self._next()

    def diffusion_sample_steps(self, template: Template, sampling: DiffusionSampling, safety: str) -> Any:
        self.asked.append(("diffusion", template.prefix, sampling.seed))
        yield FillingState(1.0, b"", b"")
        return self._made()


def test_the_first_output_that_passes_is_taken() -> None:
    model = Scripted(BAD, GOOD)
    found = safe_sample(model, b"p", 100, SamplingConfig(seed=7))
    assert (found.generation.data, model.asked, found.passed, found.warning) == (GOOD, [(7, 1.0), (8, 1.0)], True, None)
    assert [(one.how, one.seed, one.verdict.passed if one.verdict else None) for one in found.attempts] == [
        ("as asked", 7, False),
        ("another seed", 8, True),
    ]


def test_the_ladder_ends_with_diffusion_and_strict_says_what_was_found() -> None:
    model = Scripted(WORSE, BAD, WORSE, WORSE, diffusion_steps=1)
    with pytest.raises(SafetyGateError, match="after as asked, another seed, lower temperature, diffusion: ") as caught:
        safe_sample(model, b"p" * 150, 100, SamplingConfig(seed=7, temperature=0.8))
    assert model.asked == [(7, 0.8), (8, 0.8), (9, 0.56), ("diffusion", b"p" * 100, 10)]
    assert len(caught.value.attempts) == MAX_ATTEMPTS and caught.value.verdict.c < 0.3  # type: ignore[attr-defined]
    soft = safe_sample(Scripted(WORSE, BAD, WORSE, WORSE, diffusion_steps=1), b"p", 100, SamplingConfig(), safety="warn")
    assert soft.generation.data == BAD and not soft.passed and soft.warning is not None and "C 0.168 < 0.3" in soft.warning


@pytest.mark.parametrize(
    ("change", "sampling", "skipped"),
    [
        ({}, {}, [None, None, None, "the model was never trained for diffusion: train_step with objective='diffusion'"]),
        ({"diffusion_steps": 1, "max_bytes": 100}, {}, [None, None, None, "100 bytes leave no room for a prompt"]),
        ({"diffusion_steps": 1}, {"constraint": "utf8"}, [None, None, None, "diffusion does not keep constraint='utf8'"]),
        ({}, {"temperature": 0}, [None, "at temperature 0 every seed", "at temperature 0 every seed", "never trained"]),
    ],
)
def test_what_cannot_be_tried_is_skipped_with_a_reason(
    change: dict[str, Any], sampling: dict[str, Any], skipped: list[str | None]
) -> None:
    model = Scripted(*[BAD] * skipped.count(None), **change)
    found = safe_sample(model, b"p", 100, SamplingConfig(**sampling), safety="warn")
    for attempt, reason in zip(found.attempts, skipped, strict=True):
        assert (attempt.verdict is None) == (reason is not None)
        assert attempt.skipped is None if reason is None else attempt.skipped is not None and reason in attempt.skipped


def test_without_a_network_there_is_no_diffusion() -> None:
    model = Scripted(BAD, BAD, BAD)
    model.model = None
    assert "no network" in str(safe_sample(model, b"p", 100, SamplingConfig(), safety="warn").attempts[-1].skipped)


def test_the_gate_of_a_session_takes_note_of_every_attempt_and_withholds_what_passes_alone() -> None:
    gate = Gate()
    for _ in range(BURN_IN // 2):
        safe_sample(Scripted(BAD, BAD), b"p", 100, SamplingConfig(), safety="warn", attempts=2, gate=gate)
    assert gate.state.num_judged == BURN_IN and gate.state.triggered
    with pytest.raises(SafetyGateError, match="C averages") as caught:
        safe_sample(Scripted(GOOD), b"p", 100, SamplingConfig(), gate=gate)
    assert caught.value.verdict.passed and caught.value.gate.triggered  # type: ignore[attr-defined]


def test_attempts_out_of_range_are_refused_before_anything_is_generated() -> None:
    model = Scripted(GOOD)
    for attempts in (0, 5):
        with pytest.raises(ConfigError, match=f"attempts={attempts} is not between 1 and 4"):
            safe_sample(model, b"p", 100, SamplingConfig(), attempts=attempts)
    assert model.asked == []


def test_an_engine_is_sampled_safely(byte_engine: Engine) -> None:
    found = safe_sample(byte_engine, b"The ", 64, SamplingConfig(temperature=0.8), safety="warn")
    assert len(found.generation.data) == 64 and found.verdict.judged and found.attempts[0].verdict is not None
