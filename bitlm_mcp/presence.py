"""Which server processes live on a state directory.

Each holds a lock on a file of its own, which the system releases when the process ends, however it ends: no clock is asked
whether a server is alive. Beside it each writes a heartbeat, so that one which hangs with its lock held can be told from
one which works; that is judged by the watcher's own steady clock, never by comparing the clocks of two processes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bitlm_mcp.database import Database

HUNG_AFTER_S = 60.0
INTERRUPTED = "the server that ran it has ended: train_step(resume_job=…) goes on from the last saved state"


@dataclass(frozen=True)
class ServerView:
    """One process: who it is, and since when. Times are UNIX seconds."""

    server_id: str
    pid: int
    host: str
    started: float
    heartbeat: float


class Presence:
    """This process among the others. `server_id` is new for each start."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self.server_id = secrets.token_hex(8)
        self._beats: dict[str, tuple[float, float]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path(self.server_id), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.beat()

    def beat(self) -> None:
        """Tell the others that this process works; one that was taken for dead appears again."""
        now = time.time()
        row = (self.server_id, os.getpid(), socket.gethostname(), now, now)
        with self._database.write() as transaction:
            transaction.execute(
                "INSERT INTO servers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET heartbeat = excluded.heartbeat", row
            )

    def servers(self) -> dict[str, ServerView]:
        """All that are registered, this one included, by id."""
        found = (ServerView(**row) for row in self._database.rows("SELECT * FROM servers ORDER BY started"))
        return {server.server_id: server for server in found}

    def is_alone(self, transaction: sqlite3.Connection) -> bool:
        """Whether no other server is registered; until the transaction ends, none can be."""
        others = transaction.execute("SELECT 1 FROM servers WHERE server_id != ?", (self.server_id,))
        return others.fetchone() is None

    def reap(self) -> list[ServerView]:
        """Take the leases and running jobs from processes that have ended or hang; those processes."""
        ended = [server for server in self.servers().values() if not self._works(server)]
        for server in ended:
            with self._database.write() as transaction:
                bury(transaction, server.server_id, INTERRUPTED)
            if not self._locked(server.server_id):  # else it hangs, and may wake up
                self._path(server.server_id).unlink(missing_ok=True)
            self._beats.pop(server.server_id, None)
        return ended

    def close(self) -> None:
        """Leave: what this process still holds is free for the others."""
        with self._database.write() as transaction:
            bury(transaction, self.server_id, INTERRUPTED)
        self._path(self.server_id).unlink(missing_ok=True)
        os.close(self._file)

    def _path(self, server_id: str) -> Path:
        return self._folder / f"{server_id}.lock"

    def _works(self, server: ServerView) -> bool:
        if server.server_id == self.server_id:
            return True
        beat, since = self._beats.get(server.server_id, (None, 0.0))
        if beat != server.heartbeat:
            since = time.monotonic()
            self._beats[server.server_id] = (server.heartbeat, since)
        return self._locked(server.server_id) and time.monotonic() - since < HUNG_AFTER_S

    def _locked(self, server_id: str) -> bool:
        """Whether some process holds the lock of that server."""
        with suppress(FileNotFoundError):
            file = os.open(self._path(server_id), os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(file)
        return False


def bury(transaction: sqlite3.Connection, server_id: str, reason: str) -> None:
    """Remove a server with its leases; its unfinished jobs are interrupted."""
    transaction.execute("DELETE FROM servers WHERE server_id = ?", (server_id,))
    transaction.execute("UPDATE leases SET server_id = NULL WHERE server_id = ?", (server_id,))
    transaction.execute(
        "UPDATE jobs SET status = 'interrupted', finished = ?, error = ? "
        "WHERE server_id = ? AND status IN ('queued', 'running')",
        (time.time(), reason, server_id),
    )
