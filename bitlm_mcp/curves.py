"""The curves of models in the database: a point for each step, the alerts, and the marks of what happened.

What lies after a model's last saved state is of a training under way, told for the other servers; when that ends without
saving it, it counts for nothing, and the next training from the saved state takes its place.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal

from bitlm_mcp.database import Database
from bitlm_mcp.snapshot import LISTS, HistoryPoint, Mark

MAX_STEP = (1 << 63) - 1
_POINT = tuple(field.name for field in fields(HistoryPoint))


class Curves:
    """Typed access to the tables `history`, `alerts` and `marks`; every method is one transaction, unless it takes one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        transaction: sqlite3.Connection,
        model_id: str,
        points: Iterable[HistoryPoint],
        alerts: Iterable[str],
        marks: Iterable[Mark],
    ) -> None:
        """Record points that follow one another; what was recorded of their first step and later ones makes room for them.

        alerts, marks: all that the model has, but for the gate's marks.
        """
        rows = [(model_id, *_columns(point)) for point in points]
        if rows:
            first = min(row[1] for row in rows)
            transaction.execute("DELETE FROM history WHERE model_id = ? AND step >= ?", (model_id, first))
        blanks = ", ".join("?" * (1 + len(_POINT)))
        transaction.executemany(
            f"INSERT INTO history (model_id, {', '.join(_POINT)}) VALUES ({blanks})",  # noqa: S608 - our own names
            rows,
        )
        transaction.execute("DELETE FROM alerts WHERE model_id = ?", (model_id,))
        transaction.executemany(
            "INSERT INTO alerts SELECT model_id, step, ? FROM models WHERE model_id = ?",
            [(alert, model_id) for alert in alerts],
        )
        transaction.execute("DELETE FROM marks WHERE model_id = ? AND kind = 'drift'", (model_id,))
        transaction.executemany(
            "INSERT INTO marks VALUES (?, ?, ?, ?)", [(model_id, mark.step, mark.kind, mark.text) for mark in marks]
        )

    def mark_gate(self, marks: Iterable[tuple[str, Mark]], keep: int) -> None:
        """Record what the gate did to models; of each, the latest `keep` stay. Models that have gone are left out."""
        with self._database.write() as transaction:
            for model_id, mark in marks:
                transaction.execute(
                    "INSERT INTO marks SELECT model_id, ?, ?, ? FROM models WHERE model_id = ?",
                    (mark.step, mark.kind, mark.text, model_id),
                )
                transaction.execute(
                    "DELETE FROM marks WHERE model_id = ? AND kind = 'gate' AND rowid NOT IN "
                    "(SELECT rowid FROM marks WHERE model_id = ? AND kind = 'gate' ORDER BY rowid DESC LIMIT ?)",
                    (model_id, model_id, keep),
                )

    def marks(self, kind: Literal["drift", "gate"]) -> dict[str, list[Mark]]:
        """The marks of that kind by model, in the order in which they were made."""
        rows = self._database.rows("SELECT * FROM marks WHERE kind = ? ORDER BY rowid", (kind,))
        found: dict[str, list[Mark]] = {}
        for row in rows:
            found.setdefault(row["model_id"], []).append(Mark(row["step"], kind, row["text"]))
        return found

    def points(self, model_id: str, first: int = 0, last: int = MAX_STEP) -> tuple[HistoryPoint, ...]:
        """The recorded points of a model from step to step, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM history WHERE model_id = ? AND step BETWEEN ? AND ? ORDER BY step", (model_id, first, last)
        )
        return tuple(_point(row) for row in rows)

    def alerts(self, model_id: str) -> tuple[str, ...]:
        """The alerts of a model, oldest first."""
        rows = self._database.rows("SELECT message FROM alerts WHERE model_id = ? ORDER BY rowid", (model_id,))
        return tuple(row["message"] for row in rows)


def _columns(point: HistoryPoint) -> tuple[Any, ...]:
    """A point as the table of them has it: what is a list there, is JSON."""
    values = (getattr(point, name) for name in _POINT)
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in values)


def _point(row: sqlite3.Row) -> HistoryPoint:
    return HistoryPoint.of({name: json.loads(row[name]) if name in LISTS and row[name] else row[name] for name in _POINT})
