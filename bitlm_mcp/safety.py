"""What a server remembers for the safety gate: how each session stands, and outputs that wait for a person's decision.

All of it lives in memory, and is bounded: the sessions by their number, the outputs by number and time. What the gate did is
recorded soon.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from bitlm_core import Gate, GateState
from bitlm_mcp.compute.answers import GenerationOutcome
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.outbox import Outbox
from bitlm_mcp.snapshot import Mark

MAX_SESSIONS = 1000
MAX_WITHHELD = 64
WITHHELD_S = 1800.0
"""How long an output waits for a decision."""
MAX_WAITING_MARKS = 1000
MAX_MARK_TEXT = 300


class Sessions:
    """One gate for each session and model; the least recently used make room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: OrderedDict[tuple[str, str], Gate] = OrderedDict()

    def observe(self, session: str, model_id: str, found: GenerationOutcome) -> GateState:
        """Take note of every attempt at an output; how the session stands then."""
        with self._lock:
            gate = self._gates.pop((session, model_id), None) or Gate()
            self._gates[session, model_id] = gate
            if len(self._gates) > MAX_SESSIONS:
                self._gates.popitem(last=False)
            for attempt in found.attempts:
                gate.observe(attempt.verdict)
            return gate.state

    def forget(self, model_id: str) -> None:
        """Start anew for a model whose floors have changed."""
        with self._lock:
            for key in [key for key in self._gates if key[1] == model_id]:
                del self._gates[key]


@dataclass(frozen=True)
class Sample:
    """An output that was not handed over, and why."""

    model_id: str
    found: GenerationOutcome
    gate: GateState
    reasons: tuple[str, ...]
    sample_id: str = field(default_factory=lambda: f"sample-{secrets.token_urlsafe(12)}")
    since: float = field(default_factory=time.monotonic)


class GateMarks(Outbox[tuple[str, Mark]]):
    """What the gate did to models and is not recorded yet, with their names."""

    def __init__(self) -> None:
        super().__init__(MAX_WAITING_MARKS)

    def note(self, model_id: str, step: int, what: str, reasons: Iterable[str]) -> None:
        """Keep what happened to an output of that model at that step until it is fetched."""
        text = f"{what}: {'; '.join(reasons)}"[:MAX_MARK_TEXT]
        self.add((model_id, Mark(step, "gate", text)))


class Withheld:
    """Outputs by id; the oldest make room for more than `MAX_WITHHELD`, and none stays longer than `WITHHELD_S`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: OrderedDict[str, Sample] = OrderedDict()

    def hold(self, sample: Sample) -> None:
        """Keep an output until it is taken."""
        with self._lock:
            self._samples[sample.sample_id] = sample
            if len(self._samples) > MAX_WITHHELD:
                self._samples.popitem(last=False)
            self._expire()

    def take(self, sample_id: str) -> Sample:
        """The output, once. Raises UnknownHandleError for none of that id, or no longer."""
        with self._lock:
            self._expire()
            sample = self._samples.pop(sample_id, None)
            if sample is None:
                raise UnknownHandleError(
                    "withheld sample", sample_id, [], "it was decided on, or its time is over; call infer again"
                )
            return sample

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._samples)

    def _expire(self) -> None:
        before = time.monotonic() - WITHHELD_S
        for sample_id in [name for name, sample in self._samples.items() if sample.since < before]:
            del self._samples[sample_id]
