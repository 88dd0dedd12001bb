"""`safe_sample`: generate, and where the gate fails the output, try again otherwise, up to three times.

    as asked ─→ another seed ─→ that, at a lower temperature ─→ diffusion

What cannot be tried is skipped, and says why: at temperature 0 no seed changes anything, and a model that never learned to fill
in bytes cannot. Every attempt is in the result with what the gate found. Nothing waits between attempts.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from bitlm_core.errors import ConfigError, SafetyGateError
from bitlm_core.generation.autoregressive import Generation
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.filling import Filling, FillingState
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.generation.template import Template
from bitlm_core.models.interface import LanguageModel
from bitlm_core.safety.floors import GateState, Safety, Verdict
from bitlm_core.safety.session import Gate
from bitlm_core.steps import finished

MAX_ATTEMPTS = 4
COOLER = 0.7
"""What the lower temperature is of the one that was asked for."""

How = Literal["as asked", "another seed", "lower temperature", "diffusion"]
_LADDER: tuple[How, ...] = ("as asked", "another seed", "lower temperature", "diffusion")
Made = tuple[Generation, Verdict | None]
Steps = Generator[float, None, Made]


class Generating(Protocol):
    """What is sampled from: an `Engine`."""

    model: LanguageModel | None
    diffusion_steps: int

    def infer_steps(self, prompt: bytes, max_new_bytes: int, sampling: SamplingConfig, safety: Safety) -> Steps:
        """Continue a prompt."""

    def diffusion_sample_steps(
        self, template: Template, sampling: DiffusionSampling, safety: Safety
    ) -> Generator[FillingState, None, tuple[Filling, Verdict | None]]:
        """Fill a template."""


@dataclass(frozen=True)
class Attempt:
    """One try: what was changed, and what the gate found; or why it was `skipped`, and then there is no verdict."""

    how: How
    seed: int
    temperature: float
    verdict: Verdict | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class SafeSample:
    """The output of the first attempt that passed; where none did, of the one with the fewest broken checks.

    `gate`: how the session stands, where there is one. `warning`: why the output should not be trusted, if so.
    """

    generation: Generation
    verdict: Verdict
    attempts: tuple[Attempt, ...]
    gate: GateState | None = None

    @property
    def passed(self) -> bool:
        """Whether the output passed, in a session that has not triggered its gate."""
        return self.verdict.passed and not (self.gate and self.gate.triggered)

    @property
    def warning(self) -> str | None:
        """What the gate found against the output and the session."""
        against = (*self.verdict.reasons, *(self.gate.reasons if self.gate else ()))
        return "; ".join(against) or None


def safe_sample(
    model: Generating,
    prompt: bytes,
    max_new_bytes: int,
    sampling: SamplingConfig,
    *,
    safety: Literal["warn", "strict"] = "strict",
    attempts: int = MAX_ATTEMPTS,
    gate: Gate | None = None,
) -> SafeSample:
    """Continue a prompt until the gate lets an output pass, see `safe_sample_steps`."""
    return finished(safe_sample_steps(model, prompt, max_new_bytes, sampling, safety=safety, attempts=attempts, gate=gate))


def safe_sample_steps(
    model: Generating,
    prompt: bytes,
    max_new_bytes: int,
    sampling: SamplingConfig,
    *,
    safety: Literal["warn", "strict"] = "strict",
    attempts: int = MAX_ATTEMPTS,
    gate: Gate | None = None,
) -> Generator[float, None, SafeSample]:
    """Yields the share done, of as many attempts as there may be. `gate`: of a session; it takes note of every attempt.

    Strict raises SafetyGateError (`verdict`, `attempts`, `gate`) where no attempt passed or the session's gate has triggered.
    Raises ConfigError for attempts outside 1 to 4, and what infer raises.
    """
    if not 1 <= attempts <= MAX_ATTEMPTS:
        raise ConfigError(f"attempts={attempts} is not between 1 and {MAX_ATTEMPTS}: 1 is the call as asked, each more a retry")
    tried: list[Attempt] = []
    made: list[tuple[Generation, Verdict]] = []
    for number, how in enumerate(_LADDER[:attempts]):
        attempt = _planned(model, how, number, max_new_bytes, sampling)
        if attempt.skipped is None:
            for share in _following(_steps(model, attempt, prompt, max_new_bytes, sampling), made):
                yield (number + share) / attempts
            attempt = replace(attempt, verdict=made[-1][1])
            if gate:
                gate.observe(attempt.verdict)
        tried.append(attempt)
        if attempt.verdict is not None and attempt.verdict.passed:
            break
    generation, verdict = min(made, key=lambda one: sum(check.broken for check in one[1].checks))
    found = SafeSample(generation, verdict, tuple(tried), gate.state if gate else None)
    if safety == "strict" and not found.passed:
        raise refused(found)
    return found


def refused(found: SafeSample) -> SafetyGateError:
    """The error for an output that strict safety does not hand over."""
    tries = ", ".join(one.how + (f" (skipped: {one.skipped})" if one.skipped else "") for one in found.attempts)
    return SafetyGateError(
        f"the output was withheld after {tries}: {found.warning}. Or use safety='warn' to see it",
        verdict=found.verdict,
        attempts=found.attempts,
        gate=found.gate,
    )


def _planned(model: Generating, how: How, number: int, max_new_bytes: int, sampling: SamplingConfig) -> Attempt:
    """The attempt, or why it is skipped."""
    seed = (sampling.seed + number) % 2**63
    cooler = how in ("lower temperature", "diffusion")
    temperature = 1.0 if how == "diffusion" else sampling.temperature * (COOLER if cooler else 1)
    planned = Attempt(how, seed, temperature)
    if how in ("another seed", "lower temperature") and sampling.temperature == 0:
        return replace(planned, skipped="at temperature 0 every seed gives the same bytes, and there is no lower one")
    if how == "diffusion":
        return replace(planned, skipped=_why_no_diffusion(model, max_new_bytes, sampling))
    return planned


def _why_no_diffusion(model: Generating, max_new_bytes: int, sampling: SamplingConfig) -> str | None:
    if model.model is None:
        return "architecture='mix' has no network, which diffusion needs"
    if not model.diffusion_steps:
        return "the model was never trained for diffusion: train_step with objective='diffusion'"
    if sampling.constraint != "none":
        return f"diffusion does not keep constraint={sampling.constraint!r}"
    room = model.model.config.max_bytes
    if max_new_bytes >= room:
        return f"{max_new_bytes} bytes leave no room for a prompt in the model's window of {room}"
    return None


def _steps(model: Generating, attempt: Attempt, prompt: bytes, max_new_bytes: int, sampling: SamplingConfig) -> Steps:
    if attempt.how != "diffusion":
        changed = sampling.model_copy(update={"seed": attempt.seed, "temperature": attempt.temperature})
        return model.infer_steps(prompt, max_new_bytes, changed, "warn")
    assert model.model is not None  # noqa: S101 - `_why_no_diffusion` looked
    room = model.model.config.max_bytes - max_new_bytes
    return _filled(model, Template.between(prompt[-room:], max_new_bytes), DiffusionSampling(seed=attempt.seed))


def _filled(model: Generating, template: Template, sampling: DiffusionSampling) -> Steps:
    """Diffusion, told as the other attempts are."""
    steps = model.diffusion_sample_steps(template, sampling, "warn")
    while True:
        try:
            yield next(steps).share
        except StopIteration as stop:
            found: Made = stop.value
            return found


def _following(steps: Steps, made: list[tuple[Generation, Verdict]]) -> Generator[float, None, None]:
    """The shares of an attempt, which is put to those made at its end."""
    generation, verdict = yield from steps
    assert verdict is not None  # noqa: S101 - safety is not off
    made.append((generation, verdict))
