"""What the page shows: the snapshot as a whole, and what has changed between two of them.

    whole    {boot, read_only, version, models, jobs, datasets, checkpoints, servers, calls}
    change   {version, and of these what changed; gone: the ids of what is no more}

A model in a change has its new `points` besides; where it is `afresh`, its curve and its settings are to be asked for anew.
Views are replaced when they change, so that identity tells what has; each costs as much as it has changed, and what stays
costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bitlm_mcp.dashboard.wire import to_json
from bitlm_mcp.snapshot import HistoryPoint, ModelView, Snapshot, listed, plain
from bitlm_mcp.workspace import Workspace

MAX_NEW_POINTS = 1000
KINDS = ("models", "jobs", "datasets", "checkpoints")


class PageState:
    """The whole state as the page gets it. `boot` names this process, see `routes`."""

    def __init__(self, workspace: Workspace) -> None:
        self._about = {"boot": workspace.presence.server_id, "read_only": workspace.settings.read_only}
        self.boot = workspace.presence.server_id
        self._rendered: tuple[Snapshot, bytes] | None = None

    def render(self, snapshot: Snapshot) -> bytes:
        """The JSON of a snapshot: made once, however many ask for it. Takes a while: not for the event loop."""
        made = self._rendered
        if made is None or made[0] is not snapshot:
            self._rendered = made = (snapshot, to_json(self._about | whole(snapshot)))
        return made[1]


def whole(snapshot: Snapshot) -> dict[str, Any]:
    """The state without histories: the summary, with marks, previews, servers and calls."""
    told = {
        "models": [_model(model) for model in snapshot.models.values()],
        "jobs": [listed(job) for job in snapshot.jobs.values()],
    }
    return snapshot.summary() | told | {name: show(snapshot) for name, show in _ACTIVITY.items()}


def change(before: Snapshot, now: Snapshot) -> dict[str, Any] | None:
    """What is different now; None where that is nothing but the version."""
    told: dict[str, Any] = {
        "models": [_model_change(before.models.get(name), view) for name, view in _changed(before.models, now.models)],
        "jobs": [listed(view) for _, view in _changed(before.jobs, now.jobs)],
        "datasets": [plain(view) for _, view in _changed(before.datasets, now.datasets)],
        "checkpoints": [plain(view) for _, view in _changed(before.checkpoints, now.checkpoints)],
    }
    gone = {kind: [name for name in getattr(before, kind) if name not in getattr(now, kind)] for kind in KINDS}
    told = {name: items for name, items in told.items() if items}
    if any(gone.values()):
        told["gone"] = gone
    told |= {name: show(now) for name, show in _ACTIVITY.items() if getattr(before, name) is not getattr(now, name)}
    return {"version": now.version, **told} if told else None


def new_points(before: Sequence[HistoryPoint], now: Sequence[HistoryPoint]) -> Sequence[HistoryPoint] | None:
    """The points since a record was what it was; None where it is no continuation, or has more new points than a few."""
    index = len(now)
    while before and index and now[index - 1].step > before[-1].step:
        index -= 1
    start = index if before else 0
    continued = not before or (index > 0 and now[index - 1] == before[-1])
    return now[start:] if continued and len(now) - start <= MAX_NEW_POINTS else None


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, view) for name, view in now.items() if before.get(name) is not view]


def _model(model: ModelView) -> dict[str, Any]:
    return model.summary() | {"marks": [plain(mark) for mark in model.marks]}


def _model_change(before: ModelView | None, now: ModelView) -> dict[str, Any]:
    points = new_points(before.history, now.history) if before and before.config == now.config else None
    told = _model(now) | {"points": [point.plain() for point in points or ()]}
    return told | {"afresh": True} if points is None else told


_ACTIVITY: dict[str, Callable[[Snapshot], list[dict[str, Any]]]] = {
    "servers": lambda snapshot: [asdict(server) for server in snapshot.servers],
    "calls": lambda snapshot: [plain(call) for call in snapshot.calls],
}
"""Short lists, told as a whole where anything in them has changed."""
