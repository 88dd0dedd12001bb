"""The record of a model's training: one point a step, evenly thinned when long, and the latest alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bitlm_mcp.snapshot import HistoryPoint

MAX_POINTS = 4096
MAX_ALERTS = 20


@dataclass
class History:
    """Points in the order of their steps. The latest step is always there, whether it is kept later or not."""

    kept: tuple[HistoryPoint, ...] = ()
    alerts: tuple[str, ...] = ()
    latest: HistoryPoint | None = None
    thinning: int = 1
    """Every how many steps one is kept; doubles when the record is full."""

    @classmethod
    def of(cls, points: Iterable[HistoryPoint], alerts: Iterable[str]) -> History:
        """The record that these points and alerts make."""
        history = cls()
        for point in points:
            history.add(point)
        history.warn(alerts)
        return history

    def warn(self, alerts: Iterable[str]) -> None:
        """Record alerts; the oldest make room."""
        self.alerts = (*self.alerts, *alerts)[-MAX_ALERTS:]

    def add(self, point: HistoryPoint) -> None:
        """Record one step."""
        self.latest = point
        if point.step % self.thinning == 0:
            self.kept = (*self.kept, point)
        if len(self.kept) > MAX_POINTS:
            self.thinning *= 2
            self.kept = tuple(point for point in self.kept if point.step % self.thinning == 0)

    @property
    def points(self) -> tuple[HistoryPoint, ...]:
        """All that are kept, and the latest."""
        if self.latest is None or self.latest in self.kept[-1:]:
            return self.kept
        return (*self.kept, self.latest)
