"""What the gate says of outputs, as results: verdicts, attempts, what was withheld, and floors."""

from __future__ import annotations

from typing import Any, Literal

from bitlm_core import GateState, Verdict
from bitlm_mcp.compute.answers import GenerationOutcome
from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.snapshot import Status


class VerdictResult(Result):
    """What the safety gate found. It sees statistics of the bytes, not their meaning."""

    passed: bool
    judged: bool
    k: FiniteOrNone = None
    c: FiniteOrNone = None
    s: FiniteOrNone = None
    reasons: list[str]


class AttemptResult(Result):
    """One attempt at an output: what was changed, and what the gate found first; or why it was skipped."""

    how: str
    seed: int
    temperature: float
    passed: bool | None = None
    reason: str | None = None
    skipped: str | None = None


class GateResult(Result):
    """How the session stands: it triggers when its averages are out of bounds."""

    num_judged: int
    triggered: bool
    reasons: list[str]


class PendingResult(Result):
    """An output that was withheld: why, and until when it can be decided on."""

    status: Literal["pending"] = "pending"
    sample_id: str
    reasons: list[str]
    verdict: VerdictResult | None = None
    attempts: list[AttemptResult] | None = None
    gate: GateResult | None = None
    expires_s: float
    model_step: int
    next: str


class DiscardedResult(Result):
    """An output that was withheld, and is gone."""

    status: Literal["discarded"] = "discarded"
    sample_id: str


class FloorsResult(Result):
    """At one length, the lowest and highest of what healthy outputs have; costs in bits per byte."""

    num_bytes: int
    k: list[float]
    c: list[float]
    s: list[float]
    pairs: list[float]
    excess: list[float]
    cost: list[float]


class CalibrateResult(Result):
    """The floors of a model from now on, or the job that is still finding them."""

    job_id: str
    status: Status
    num_generations: int | None = None
    floors: list[FloorsResult] | None = None
    next: str | None = None


def verdict_facts(found: GenerationOutcome, gate: GateState | None) -> dict[str, Any]:
    """What the gate says of an output, of the attempts where there were several, and of the session once it has judged."""
    attempts = [
        AttemptResult(
            how=one.how,
            seed=one.seed,
            temperature=one.temperature,
            passed=one.verdict.passed if one.verdict else None,
            reason=next(iter(one.verdict.reasons), None) if one.verdict else None,
            skipped=one.skipped,
        )
        for one in found.attempts
    ]
    told = gate if gate and gate.num_judged else None
    return {
        "verdict": verdict_result(found.verdict),
        "attempts": attempts if len(attempts) > 1 else None,
        "gate": GateResult(num_judged=told.num_judged, triggered=told.triggered, reasons=list(told.reasons)) if told else None,
    }


def verdict_result(verdict: Verdict | None) -> VerdictResult | None:
    if verdict is None:
        return None
    return VerdictResult(**verdict.model_dump(exclude={"checks"}) | {"reasons": list(verdict.reasons)})
