"""The SQLite file of a state directory: opened, checked, brought up to date, and shared by several processes.

    servers, leases              who runs on this directory, and who may write which model
    models, history, alerts      what is known of each model; points after its last saved state are of a training under way
    marks                        what happened to a model at which step, for its curve
    jobs                         every job whose id a client was told
    checkpoints, datasets        an index of the folders of the same names; their manifests are the truth
    calls                        a log of tool calls
    withheld, tasks, keys        what any server may be asked for that another one has told a client

A write is on the disk when `write()` ends (WAL, synchronous=FULL). Nothing but this file would be lost with it: a damaged
one is set aside, and what the folders tell is indexed anew.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitlm_core import BitLMError

log = logging.getLogger("bitlm.database")

BUSY_TIMEOUT_S = 10.0

UPGRADES: tuple[str, ...] = (
    """
    CREATE TABLE servers (
        server_id TEXT PRIMARY KEY, pid INTEGER NOT NULL, host TEXT NOT NULL, started REAL NOT NULL, heartbeat REAL NOT NULL
    );
    CREATE TABLE leases (
        model_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, server_id TEXT, purpose TEXT NOT NULL, since REAL NOT NULL
    );
    CREATE TABLE models (
        model_id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, step INTEGER NOT NULL, facts TEXT NOT NULL, updated REAL NOT NULL
    );
    CREATE TABLE history (
        model_id TEXT NOT NULL REFERENCES models ON DELETE CASCADE, step INTEGER NOT NULL, loss REAL NOT NULL,
        bits_per_byte REAL NOT NULL, bits_per_byte_mixed REAL, grad_norm REAL NOT NULL, learning_rate REAL NOT NULL,
        k REAL, c REAL, s REAL, PRIMARY KEY (model_id, step)
    ) WITHOUT ROWID;
    CREATE TABLE alerts (
        model_id TEXT NOT NULL REFERENCES models ON DELETE CASCADE, step INTEGER NOT NULL, message TEXT NOT NULL
    );
    CREATE INDEX alerts_of_a_model ON alerts (model_id, step);
    CREATE TABLE jobs (
        job_id TEXT PRIMARY KEY, kind TEXT NOT NULL, model_id TEXT NOT NULL, server_id TEXT NOT NULL, status TEXT NOT NULL,
        created REAL NOT NULL, finished REAL, request TEXT NOT NULL, progress TEXT NOT NULL, result TEXT, error TEXT,
        cancel INTEGER NOT NULL DEFAULT 0, idempotency_key TEXT UNIQUE
    );
    CREATE TABLE checkpoints (name TEXT PRIMARY KEY, facts TEXT NOT NULL);
    CREATE TABLE datasets (dataset_id TEXT PRIMARY KEY, facts TEXT NOT NULL);
    CREATE TABLE calls (
        at REAL NOT NULL, client TEXT NOT NULL, tool TEXT NOT NULL, model_id TEXT, duration_ms REAL NOT NULL,
        outcome TEXT NOT NULL, message TEXT
    );
    CREATE INDEX calls_in_time ON calls (at);
    """,
    """
    ALTER TABLE history ADD COLUMN bits_per_byte_held_out REAL;
    ALTER TABLE history ADD COLUMN halt_probs TEXT;
    ALTER TABLE history ADD COLUMN mean_layers REAL;
    """,
    """
    ALTER TABLE history ADD COLUMN transition_rate REAL;
    ALTER TABLE history ADD COLUMN symbiosis_kl REAL;
    ALTER TABLE history ADD COLUMN composite REAL;
    ALTER TABLE history ADD COLUMN attention_entropy REAL;
    ALTER TABLE history ADD COLUMN bytes_per_second REAL;
    ALTER TABLE history ADD COLUMN memory_bytes INTEGER;
    """,
    """
    ALTER TABLE history ADD COLUMN patch_mean REAL;
    ALTER TABLE history ADD COLUMN patch_spread REAL;
    ALTER TABLE history ADD COLUMN patch_histogram TEXT;
    """,
    """
    ALTER TABLE history ADD COLUMN loss_raw REAL;
    ALTER TABLE history ADD COLUMN accuracy_raw REAL;
    ALTER TABLE history ADD COLUMN loss_compressed REAL;
    ALTER TABLE history ADD COLUMN accuracy_compressed REAL;
    ALTER TABLE history ADD COLUMN ratio_compressed REAL;
    ALTER TABLE history ADD COLUMN loss_direct REAL;
    ALTER TABLE history ADD COLUMN accuracy_direct REAL;
    ALTER TABLE history ADD COLUMN ratio_direct REAL;
    ALTER TABLE history ADD COLUMN codec_fallbacks INTEGER;
    """,
    """
    CREATE TABLE marks (
        model_id TEXT NOT NULL REFERENCES models ON DELETE CASCADE, step INTEGER NOT NULL, kind TEXT NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX marks_of_a_model ON marks (model_id, kind);
    """,
    """
    ALTER TABLE leases ADD COLUMN job_id TEXT;
    CREATE TABLE withheld (sample_id TEXT PRIMARY KEY, sample TEXT NOT NULL, since REAL NOT NULL);
    CREATE TABLE tasks (
        task_id TEXT PRIMARY KEY, server_id TEXT NOT NULL, wire TEXT NOT NULL, cancel INTEGER NOT NULL DEFAULT 0,
        expires REAL NOT NULL
    );
    CREATE TABLE keys (name TEXT PRIMARY KEY, secret BLOB NOT NULL);
    """,
)
"""The schema, step by step: a file of version n lacks the steps from n on. A step that was released never changes."""


class DatabaseError(BitLMError):
    """The state directory's database cannot be read or written; `path` is its file."""

    path: Path


class _FaultFoundError(sqlite3.DatabaseError):
    """quick_check does not say ok."""


class Database:
    """One connection for all threads of this process, used by one at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises DatabaseError where the directory refuses, or a newer bitlm has written it."""
        self.path = path
        self._lock = threading.Lock()
        self._seen = 0
        with self._named("opened"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with self._alone():
                    self._connection = self._open()
                    self._inode = path.stat().st_ino
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
        self.changed()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock, self._named("read"):
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on the disk when it ends, without effect when it raises. Other writers wait meanwhile."""
        with self._lock, self._named("written"):
            self._check_place()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # some errors of SQLite have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def version(self) -> int:
        """A number that is another one when another process has written."""
        return int(self.rows("PRAGMA data_version")[0][0])

    def changed(self) -> bool:
        """Whether another process has written since this was asked last."""
        before, self._seen = self._seen, self.version()
        return self._seen != before

    def close(self) -> None:
        """Close the connection; the object is of no use afterwards."""
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._checked()
        except sqlite3.DatabaseError as error:
            if not _tells_of_damage(error):
                raise
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            log.error("the database %s is damaged (%s): it was set aside as %s", self.path, error, aside.name)
            for suffix in ("", "-wal", "-shm"):
                file = self.path.with_name(self.path.name + suffix)
                if file.exists():
                    file.replace(aside.with_name(aside.name + suffix))
            return self._checked()

    def _checked(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise _FaultFoundError("quick_check found a fault")
            self._upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # of two servers that start at once, one does it
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(UPGRADES):
                raise DatabaseError(
                    f"{self.path} has schema version {version}, and this program knows {len(UPGRADES)}: update bitlm, or "
                    "use another --state-dir",
                    path=self.path,
                )
            for step in UPGRADES[version:]:
                for statement in filter(str.strip, step.split(";")):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several processes that start at once, only one at a time judges the file, and sets a damaged one aside."""
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_place(self) -> None:
        """What is written to a file that was removed or replaced meanwhile would be lost without anybody noticing."""
        try:
            there = self.path.stat().st_ino == self._inode
        except OSError:
            there = False
        if not there:
            raise sqlite3.OperationalError("its file was removed or replaced under this server, which must be started anew")

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DatabaseError(
                f"the database {self.path} could not be {what} ({error}); nothing was changed: check the disk and the rights "
                "of the state directory, then call again",
                path=self.path,
            ) from error


def _tells_of_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault; a full disk, a lock or a missing right heals without losing it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is detail
    return isinstance(error, _FaultFoundError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
