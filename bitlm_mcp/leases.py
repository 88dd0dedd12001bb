"""Who may write a model: one server process at a time, for as long as a job of its own changes that model.

A lease is taken when such a job is submitted and given back when it ends. The epoch grows with each new holder, and every
write is made inside `fenced`, in the same transaction that finds the epoch unchanged: a process that was taken for dead
and comes back cannot overwrite what its successor has done.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bitlm_core import BitLMError
from bitlm_mcp.activity import ServerProcess, Writing
from bitlm_mcp.database import Database, DatabaseError
from bitlm_mcp.presence import Presence

log = logging.getLogger("bitlm.leases")

_WRITING = ("model_id", "purpose", "since", "job_id")


class LeaseError(BitLMError):
    """Another process writes the model; `model_id` and `holder` say which and who."""

    model_id: str
    holder: str


@dataclass(frozen=True)
class Lease:
    """The right to write one model, until somebody else's epoch."""

    model_id: str
    epoch: int


class Leases:
    """The leases of one process. Jobs of this process share one: it is given back with the last of them."""

    def __init__(self, database: Database, presence: Presence) -> None:
        self._database = database
        self._presence = presence
        self._lock = threading.Lock()
        self._sharers: Counter[Lease] = Counter()

    def acquire(self, model_id: str, purpose: str) -> Lease:
        """The lease of a model that no other process writes. Raises LeaseError, which names the holder."""
        self._presence.reap()
        with self._lock:
            with self._database.write() as transaction:
                lease = self._take(transaction, model_id, purpose)
            self._sharers[lease] += 1
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that was lost meanwhile stays with whoever has it.

        When the disk refuses, it stays with this process, which may use it again, until that ends.
        """
        with self._lock:
            self._sharers[lease] -= 1
            if self._sharers[lease] > 0:
                return
            del self._sharers[lease]
            try:
                with self._database.write() as transaction:
                    transaction.execute(
                        "UPDATE leases SET server_id = NULL WHERE model_id = ? AND epoch = ?", (lease.model_id, lease.epoch)
                    )
            except DatabaseError as error:
                log.warning("the lease of model %s could not be given back: %s", lease.model_id, error.message)

    def held(self, model_id: str) -> Lease | None:
        """The lease under which a job of this process may write that model now."""
        with self._lock:
            return next((lease for lease in self._sharers if lease.model_id == model_id), None)

    def tell(self, lease: Lease, purpose: str, job_id: str | None) -> None:
        """Let the others know what the model is written for, and the id of the job, if it has one; if the disk refuses, not."""
        try:
            with self._database.write() as transaction:
                transaction.execute(
                    "UPDATE leases SET purpose = ?, job_id = ? WHERE model_id = ? AND epoch = ?",
                    (purpose, job_id, lease.model_id, lease.epoch),
                )
        except DatabaseError as error:  # the job is recorded by now, and goes on
            log.warning("what model %s is written for could not be told: %s", lease.model_id, error.message)

    def elsewhere(self) -> frozenset[str]:
        """The models that other processes write now."""
        rows = self._database.rows(
            "SELECT model_id FROM leases JOIN servers USING (server_id) WHERE server_id != ?", (self._presence.server_id,)
        )
        return frozenset(row["model_id"] for row in rows)

    def _take(self, transaction: sqlite3.Connection, model_id: str, purpose: str) -> Lease:
        row = transaction.execute(
            "SELECT leases.*, pid, host FROM leases LEFT JOIN servers USING (server_id) WHERE model_id = ?", (model_id,)
        ).fetchone()
        if row is not None and row["pid"] is not None:
            if row["server_id"] == self._presence.server_id:
                return Lease(model_id, row["epoch"])
            holder, job_id = f"process {row['pid']} on {row['host']}", row["job_id"]
            what = f"{row['purpose']} {job_id}" if job_id else row["purpose"]
            then = "call wait_job or cancel_job with that id" if job_id else "wait until it has ended"
            raise LeaseError(
                f"model {model_id!r} is being written by {holder} ({what}, for {max(0, time.time() - row['since']):.0f} s): "
                f"{then}, or use another model_id. Reading it (infer, score) works",
                model_id=model_id,
                holder=holder,
            )
        epoch = 1 if row is None else row["epoch"] + 1
        values = (model_id, epoch, self._presence.server_id, purpose, time.time(), None)
        transaction.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", values)
        return Lease(model_id, epoch)

    @contextmanager
    def fenced(self, lease: Lease) -> Iterator[sqlite3.Connection]:
        """A transaction that happens only while the lease holds. Raises LeaseError."""
        with self._database.write() as transaction:
            row = transaction.execute(
                "SELECT server_id FROM leases WHERE model_id = ? AND epoch = ?", (lease.model_id, lease.epoch)
            ).fetchone()
            if row is None or row["server_id"] != self._presence.server_id:
                raise LeaseError(
                    f"model {lease.model_id!r} was taken over by another process while this one did not answer; what it "
                    "did since is not saved: start again from the state that model is in now",
                    model_id=lease.model_id,
                    holder="another process",
                )
            yield transaction

    def servers(self) -> tuple[ServerProcess, ...]:
        """All servers on the state directory, the oldest first, with what each of them writes now."""
        writes: dict[str, list[Writing]] = {}
        for row in self._database.rows("SELECT * FROM leases WHERE server_id IS NOT NULL ORDER BY since, model_id"):
            writes.setdefault(row["server_id"], []).append(Writing(*(row[name] for name in _WRITING)))
        found = []
        for server_id, one in self._presence.servers().items():
            own, held = server_id == self._presence.server_id, tuple(writes.get(server_id, ()))
            found.append(ServerProcess(server_id, one.pid, one.host, one.started, own, held))
        return tuple(found)
