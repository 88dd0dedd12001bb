"""What a server remembers for the safety gate: how each session stands, and outputs that wait for a person's decision.

All of it is bounded: the sessions by their number, the outputs by number and time. The sessions live in memory, each server
knows its own; the outputs wait in the database, where every server finds them. What the gate did is recorded soon.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable

from pydantic import Field

from bitlm_core import Gate, GateState
from bitlm_mcp.compute.answers import GenerationOutcome
from bitlm_mcp.compute.messages import Message
from bitlm_mcp.database import Database
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


class Sample(Message):
    """An output that was not handed over, and why."""

    model_id: str
    found: GenerationOutcome
    gate: GateState
    reasons: tuple[str, ...]
    sample_id: str = Field(default_factory=lambda: f"sample-{secrets.token_urlsafe(12)}")


class GateMarks(Outbox[tuple[str, Mark]]):
    """What the gate did to models and is not recorded yet, with their names."""

    def __init__(self) -> None:
        super().__init__(MAX_WAITING_MARKS)

    def note(self, model_id: str, step: int, what: str, reasons: Iterable[str]) -> None:
        """Keep what happened to an output of that model at that step until it is fetched."""
        text = f"{what}: {'; '.join(reasons)}"[:MAX_MARK_TEXT]
        self.add((model_id, Mark(step, "gate", text)))


class Withheld:
    """Outputs by id, for any server to decide on; the oldest make room for more than `MAX_WITHHELD`, and none can be taken
    after `WITHHELD_S`. Blocks: not for the event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, sample: Sample) -> None:
        """Keep an output until it is taken."""
        with self._database.write() as transaction:
            row = (sample.sample_id, sample.model_dump_json(), time.time())
            transaction.execute("INSERT INTO withheld VALUES (?, ?, ?)", row)
            _expire(transaction)

    def take(self, sample_id: str) -> Sample:
        """The output, once. Raises UnknownHandleError for none of that id, or no longer."""
        with self._database.write() as transaction:
            _expire(transaction)
            row = transaction.execute("SELECT sample FROM withheld WHERE sample_id = ?", (sample_id,)).fetchone()
            transaction.execute("DELETE FROM withheld WHERE sample_id = ?", (sample_id,))
        if row is None:
            raise UnknownHandleError(
                "withheld sample", sample_id, [], "it was decided on, or its time is over; call infer again"
            )
        return Sample.model_validate_json(row["sample"])

    def expire(self) -> None:
        """Forget those whose time is over."""
        with self._database.write() as transaction:
            _expire(transaction)

    def __len__(self) -> int:
        return int(self._database.rows("SELECT COUNT(*) AS samples FROM withheld")[0]["samples"])


def _expire(transaction: sqlite3.Connection) -> None:
    transaction.execute("DELETE FROM withheld WHERE since < ?", (time.time() - WITHHELD_S,))
    transaction.execute(
        "DELETE FROM withheld WHERE rowid NOT IN (SELECT rowid FROM withheld ORDER BY rowid DESC LIMIT ?)", (MAX_WITHHELD,)
    )
