"""What the database keeps, as values of this program: jobs, models, the index of folders, the calls."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from bitlm_core import ConfigError
from bitlm_mcp.activity import Call
from bitlm_mcp.curves import Curves
from bitlm_mcp.database import Database
from bitlm_mcp.snapshot import FINAL, HistoryPoint, JobView, Mark

_KNOWN_OF_A_JOB = frozenset({"job_id", "kind", "model_id", "status", "created", "finished", "error", "result", "preview"})
_PROGRESS = tuple(field.name for field in fields(JobView) if field.name not in _KNOWN_OF_A_JOB)
_OWN = "job_id = ? AND server_id = ? AND status IN ('queued', 'running')"
"""A job that nobody has taken from its server."""


@dataclass(frozen=True)
class JobRow:
    """A job as it was recorded: how it looks, what was asked, who runs it, whether it is to stop."""

    view: JobView
    request: dict[str, Any]
    server_id: str
    cancel: bool


@dataclass(frozen=True)
class ModelRow:
    """A model as it was saved last. `facts` are those of its manifest."""

    model_id: str
    sha256: str
    facts: dict[str, Any]


class Records:
    """Typed access to the tables; every method is one transaction, unless it takes one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.curves = Curves(database)

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction for several of these methods."""
        return self._database.write()

    # Jobs

    def add_job(self, view: JobView, request: Mapping[str, Any], server_id: str, key: str | None = None) -> None:
        """Record a new job. Raises ConfigError when its idempotency key was used before."""
        values = (view.job_id, view.kind, view.model_id, server_id, view.status, view.created, json.dumps(request), key)
        with self._database.write() as transaction:
            if key and transaction.execute("SELECT 1 FROM jobs WHERE idempotency_key = ?", (key,)).fetchone():
                raise ConfigError(f"idempotency_key {key!r} is being used by another call at this moment: call again")
            transaction.execute(
                "INSERT INTO jobs (job_id, kind, model_id, server_id, status, created, request, idempotency_key, progress) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, _progress(view)),
            )

    def job_of_key(self, key: str, request: Mapping[str, Any]) -> JobRow | None:
        """The job that was made under an idempotency key. Raises ConfigError when that was for another request."""
        rows = self._database.rows("SELECT * FROM jobs WHERE idempotency_key = ?", (key,))
        if not rows:
            return None
        found = _job(rows[0])
        if found.request != json.loads(json.dumps(request)):
            raise ConfigError(
                f"idempotency_key {key!r} was used for another call ({found.view.job_id}): repeat that call unchanged, or "
                "choose a new key"
            )
        return found

    def update_job(self, view: JobView, server_id: str, transaction: sqlite3.Connection | None = None) -> bool:
        """Record where an unfinished job of a server stands; False where it was taken for dead, so that others can go on."""
        if transaction is None:
            with self._database.write() as own:
                return self.update_job(view, server_id, own)
        result = None if view.result is None else json.dumps(view.result)
        found = transaction.execute(
            f"UPDATE jobs SET status = ?, finished = ?, progress = ?, result = ?, error = ? WHERE {_OWN}",  # noqa: S608 - ours
            (view.status, view.finished, _progress(view), result, view.error, view.job_id, server_id),
        )
        return found.rowcount > 0

    def update_progress(self, view: JobView, server_id: str) -> None:
        """Record how far an unfinished job of a server is; one that has ended meanwhile stays as it is."""
        with self._database.write() as transaction:
            transaction.execute(
                f"UPDATE jobs SET status = ?, progress = ? WHERE {_OWN}",  # noqa: S608 - ours
                (view.status, _progress(view), view.job_id, server_id),
            )

    def job_ids(self, transaction: sqlite3.Connection) -> set[str]:
        """Ids of all jobs."""
        return {row["job_id"] for row in transaction.execute("SELECT job_id FROM jobs")}

    def take_job(self, view: JobView, server_id: str) -> bool:
        """Make a job that has ended this server's own again, as `view` shows it; False when another server was quicker."""
        with self._database.write() as transaction:
            taken = transaction.execute(
                "UPDATE jobs SET server_id = ?, status = 'queued', cancel = 0 "
                "WHERE job_id = ? AND status NOT IN ('queued', 'running')",
                (server_id, view.job_id),
            ).rowcount
            if taken:
                self.update_job(view, server_id, transaction)
        return bool(taken)

    def job(self, job_id: str) -> JobRow | None:
        """One job, None where there is none of that id."""
        rows = self._database.rows("SELECT * FROM jobs WHERE job_id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def latest_jobs(self, limit: int) -> list[JobRow]:
        """The latest jobs of all servers, the oldest first; unfinished ones are always among them."""
        rows = self._database.rows(
            "SELECT * FROM (SELECT * FROM jobs ORDER BY finished IS NOT NULL, created DESC LIMIT ?) ORDER BY created", (limit,)
        )
        return [_job(row) for row in rows]

    def jobs_page(self, limit: int, offset: int) -> tuple[list[JobRow], int]:
        """Jobs of all servers, and how many there are: unfinished ones as they were made, then ended ones, the latest first."""
        rows = self._database.rows(
            "SELECT * FROM jobs ORDER BY finished IS NOT NULL, COALESCE(-finished, created), job_id LIMIT ? OFFSET ?",
            (limit, offset),
        )
        (total,) = self._database.rows("SELECT COUNT(*) AS jobs FROM jobs")
        return [_job(row) for row in rows], total["jobs"]

    def to_cancel(self, server_id: str) -> list[str]:
        """Jobs of a server that another one was asked to stop."""
        rows = self._database.rows(
            "SELECT job_id FROM jobs WHERE server_id = ? AND cancel AND status IN ('queued', 'running')", (server_id,)
        )
        return [row["job_id"] for row in rows]

    def request_cancel(self, job_id: str) -> None:
        """Ask whoever runs a job to stop it."""
        with self._database.write() as transaction:
            transaction.execute("UPDATE jobs SET cancel = 1 WHERE job_id = ?", (job_id,))

    def purge_jobs(self, finished_before: float) -> list[str]:
        """Forget jobs that ended before then; their ids."""
        with self._database.write() as transaction:
            rows = transaction.execute("SELECT job_id FROM jobs WHERE finished < ?", (finished_before,)).fetchall()
            transaction.execute("DELETE FROM jobs WHERE finished < ?", (finished_before,))
        return [row["job_id"] for row in rows]

    def key(self, name: str) -> bytes:
        """The secret of that name, 32 bytes, which all servers of the state directory share; made when first asked for."""
        with self._database.write() as transaction:
            transaction.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (name, secrets.token_bytes(32)))
            row = transaction.execute("SELECT secret FROM keys WHERE name = ?", (name,)).fetchone()
        return bytes(row["secret"])

    # Models

    def save_model(
        self,
        transaction: sqlite3.Connection,
        row: ModelRow,
        points: Iterable[HistoryPoint],
        alerts: Iterable[str],
        marks: Iterable[Mark],
        *,
        afresh: bool,
    ) -> None:
        """Record a saved state, with the points since the one before; `afresh`: it is another model than before.

        Of the marks of a model that goes on, the gate's stay as they are: other servers may have added some.
        """
        if afresh:
            self.forget_model(transaction, row.model_id)
        step = row.facts["step"]
        transaction.execute(
            "INSERT INTO models VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "sha256 = excluded.sha256, step = excluded.step, facts = excluded.facts, updated = excluded.updated",
            (row.model_id, row.sha256, step, json.dumps(row.facts), time.time()),
        )
        transaction.execute("DELETE FROM history WHERE model_id = ? AND step > ?", (row.model_id, step))
        kept = [mark for mark in marks if afresh or mark.kind == "drift"]
        self.curves.add(transaction, row.model_id, points, alerts, kept)

    def models(self, transaction: sqlite3.Connection | None = None) -> dict[str, ModelRow]:
        """All models by id."""
        sql = "SELECT * FROM models ORDER BY model_id"
        rows = transaction.execute(sql) if transaction else self._database.rows(sql)
        return {row["model_id"]: ModelRow(row["model_id"], row["sha256"], json.loads(row["facts"])) for row in rows}

    def forget_model(self, transaction: sqlite3.Connection, model_id: str) -> None:
        """Drop a model with its history."""
        transaction.execute("DELETE FROM models WHERE model_id = ?", (model_id,))

    @contextmanager
    def forgetting_model(self, model_id: str) -> Iterator[None]:
        """Drop a model with its history, together with what the block does."""
        with self._database.write() as transaction:
            self.forget_model(transaction, model_id)
            yield

    # The index of folders

    @contextmanager
    def indexing(self, table: Literal["checkpoints", "datasets"], name: str, facts: Mapping[str, Any] | None) -> Iterator[None]:
        """Record what a folder will hold when the block has ended; None: nothing any more."""
        column = "name" if table == "checkpoints" else "dataset_id"
        with self._database.write() as transaction:
            transaction.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608 - our own names
            if facts is not None:
                transaction.execute(f"INSERT INTO {table} VALUES (?, ?)", (name, json.dumps(facts)))  # noqa: S608 - as above
            yield

    def reindex(self, table: str, scan: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        """Record what all folders hold; `scan` looks at them while no other process can record anything."""
        with self._database.write() as transaction:
            transaction.execute(f"DELETE FROM {table}")  # noqa: S608 - one of two names
            rows = [(name, json.dumps(facts)) for name, facts in scan().items()]
            transaction.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - as above

    def indexed(self, table: str) -> dict[str, dict[str, Any]]:
        """What was recorded of folders, by name."""
        return {row[0]: json.loads(row[1]) for row in self._database.rows(f"SELECT * FROM {table} ORDER BY 1")}  # noqa: S608

    # Calls

    def log_calls(self, calls: Iterable[Call], keep_after: float) -> None:
        """Record tool calls, and forget those before `keep_after`."""
        with self._database.write() as transaction:
            transaction.executemany(
                "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", [tuple(asdict(call).values()) for call in calls]
            )
            transaction.execute("DELETE FROM calls WHERE at < ?", (keep_after,))

    def latest_calls(self, limit: int) -> list[Call]:
        """The latest tool calls of all servers, the latest first."""
        rows = self._database.rows("SELECT * FROM calls ORDER BY at DESC LIMIT ?", (limit,))
        return [Call(**dict(row)) for row in rows]


def _progress(view: JobView) -> str:
    return json.dumps({name: getattr(view, name) for name in _PROGRESS})


def _job(row: sqlite3.Row) -> JobRow:
    stored = {name: row[name] for name in ("job_id", "kind", "model_id", "status", "created", "finished", "error")}
    progress = json.loads(row["progress"])
    progress["growths"] = tuple(progress.get("growths", ()))
    if row["status"] in FINAL:
        progress["eta_s"] = None
    result = None if row["result"] is None else json.loads(row["result"])
    view = JobView(**stored, **progress, result=result)
    return JobRow(view, json.loads(row["request"]), row["server_id"], bool(row["cancel"]))
