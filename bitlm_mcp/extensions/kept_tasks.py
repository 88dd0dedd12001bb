"""Tasks that are no jobs, in the database: so that any server of the state directory can tell how they stand, and stop them.

Their calls run in the process that was asked, and end with it. Blocks: not for the event loop.
"""

from __future__ import annotations

import json
import time
from typing import Any

from mcp_types import INTERNAL_ERROR

from bitlm_mcp.database import Database


class KeptTasks:
    """The tasks of all servers; `server_id` is this one."""

    def __init__(self, database: Database, server_id: str) -> None:
        self._database = database
        self._server_id = server_id

    def keep(self, wire: dict[str, Any]) -> None:
        """Record how a task of this server stands; those whose time to live is over are forgotten."""
        now = time.time()
        row = (wire["taskId"], self._server_id, json.dumps(wire), now + wire["ttlMs"] / 1000)
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM tasks WHERE expires < ?", (now,))
            transaction.execute(
                "INSERT INTO tasks (task_id, server_id, wire, expires) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET wire = excluded.wire",
                row,
            )

    def find(self, task_id: str) -> dict[str, Any] | None:
        """A task as its server has recorded it last, failed if that has ended before the task; None where there is none."""
        rows = self._database.rows(
            "SELECT wire, servers.pid FROM tasks LEFT JOIN servers USING (server_id) WHERE task_id = ?", (task_id,)
        )
        if not rows:
            return None
        wire: dict[str, Any] = json.loads(rows[0]["wire"])
        if rows[0]["pid"] is None and wire["status"] in ("working", "input_required"):
            gone = {"code": INTERNAL_ERROR, "message": "the server that ran the call has ended: make it again"}
            return {name: value for name, value in wire.items() if name != "inputRequests"} | {
                "status": "failed",
                "error": gone,
            }
        return wire

    def ask_to_stop(self, task_id: str) -> None:
        """Let the server that runs a task know that it is to stop."""
        with self._database.write() as transaction:
            transaction.execute("UPDATE tasks SET cancel = 1 WHERE task_id = ?", (task_id,))

    def asked_to_stop(self) -> frozenset[str]:
        """The tasks of this server that another one was asked to stop."""
        rows = self._database.rows("SELECT task_id FROM tasks WHERE server_id = ? AND cancel", (self._server_id,))
        return frozenset(row["task_id"] for row in rows)
