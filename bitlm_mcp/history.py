"""The record of a model's training: a point for each of its latest steps, fewer for those before, the latest alerts and marks.

Where points have to make room, those stay that would be missed: in each stretch of steps the smallest and the largest of what
is drawn, so that no spike is hidden by thinning, and in between points that carry K, C, S, which are measured at few steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from bitlm_mcp.snapshot import HistoryPoint, Mark, plain, recorded

MAX_POINTS = 4096
MAX_ALERTS = 20
MAX_MARKS = 50
DRAWN = ("bits_per_byte", "grad_norm", "k", "c", "s")
"""Whose extremes are kept."""
_POINTS_PER_STRETCH = 4 * len(DRAWN)
"""Of which at most half are extremes."""


@dataclass
class History:
    """Points in the order of their steps: the latest half of `MAX_POINTS` steps all, what was before ever thinner.

    `measured`: the last value of each metric, as `snapshot.recorded` finds it; kept, because looking takes long.
    """

    kept: tuple[HistoryPoint, ...] = ()
    alerts: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Sequence[HistoryPoint], alerts: Iterable[str], marks: Iterable[Mark] = ()) -> History:
        """The record that these points, alerts and marks make."""
        history = cls(tuple(thinned(points, MAX_POINTS)), measured=recorded(points))
        history.warn(alerts)
        history.mark(marks)
        return history

    @classmethod
    def told(cls, header: Mapping[str, Any]) -> History:
        """The record in the header of a state file; one that Python has written may have none.

        Raises KeyError, TypeError or ValueError for what is none.
        """
        points = [HistoryPoint.of(point) for point in header.get("history", ())]
        return cls.of(points, map(str, header.get("alerts", ())), [Mark(**mark) for mark in header.get("marks", ())])

    def plain(self) -> dict[str, Any]:
        """The record as JSON values by name, which `told` reads."""
        return {
            "history": [point.plain() for point in self.kept],
            "alerts": self.alerts,
            "marks": [plain(mark) for mark in self.marks],
        }

    def again(self) -> History:
        """The same record, for another model that goes on from here."""
        return replace(self)

    def warn(self, alerts: Iterable[str]) -> None:
        """Record alerts; the oldest make room."""
        self.alerts = (*self.alerts, *alerts)[-MAX_ALERTS:]

    def mark(self, marks: Iterable[Mark]) -> None:
        """Record marks, in the order of their steps; the oldest make room."""
        together = sorted((*self.marks, *marks), key=lambda mark: mark.step)
        self.marks = tuple(together[-MAX_MARKS:])

    def mark_gate(self, marks: Iterable[Mark]) -> None:
        """Put the gate's marks in place of those that were known: all servers make such, and the database has them all."""
        self.marks = tuple(mark for mark in self.marks if mark.kind != "gate")
        self.mark(marks)

    def add(self, point: HistoryPoint) -> None:
        """Record one step; where it comes again, because what came after the one before was undone, in place of all that."""
        if self.kept and point.step <= self.kept[-1].step:
            self.cut(point.step - 1)
        self.kept = (*self.kept, point)
        self.measured = self.measured | recorded((point,))
        if len(self.kept) > MAX_POINTS:
            early = len(self.kept) - MAX_POINTS // 2
            self.kept = (*thinned(self.kept[:early], MAX_POINTS // 4), *self.kept[early:])

    def cut(self, step: int) -> None:
        """Forget the points after a step, and what has drifted."""
        self.kept = tuple(point for point in self.kept if point.step <= step)
        self.marks = tuple(mark for mark in self.marks if mark.kind == "gate" or mark.step <= step)
        self.measured = recorded(self.kept)

    @property
    def points(self) -> tuple[HistoryPoint, ...]:
        """All that are kept."""
        return self.kept


def thinned(points: Sequence[HistoryPoint], limit: int) -> Sequence[HistoryPoint]:
    """At most `limit` ≥ 1 points: the last always, the first from two on, the extremes of each stretch, and others evenly
    spread between them. Fewer than twenty points have no room for extremes.
    """
    if len(points) <= limit:
        return points
    if limit == 1:
        return points[-1:]
    last = len(points) - 1
    chosen = {0, last}
    for left, right in _stretches(1, last, limit // _POINTS_PER_STRETCH):
        chosen |= _extremes(points, left, right)
    others = [index for index in range(1, last) if index not in chosen]
    for left, right in _stretches(0, len(others), limit - len(chosen)):
        stretch = others[left:right]
        chosen.add(next((index for index in reversed(stretch) if points[index].k is not None), stretch[-1]))
    return [points[index] for index in sorted(chosen)]


def _stretches(begin: int, end: int, count: int) -> Iterable[tuple[int, int]]:
    """`count` stretches of begin … end − 1, as equal as they can be."""
    return pairwise(begin + round(part * (end - begin) / count) for part in range(count + 1)) if count else ()


def _extremes(points: Sequence[HistoryPoint], left: int, right: int) -> set[int]:
    """Where each metric is smallest and largest; nowhere if it does not move."""
    found: set[int] = set()
    for name in DRAWN:
        values = [(value, index) for index in range(left, right) if (value := getattr(points[index], name)) is not None]
        if values and min(values)[0] < max(values)[0]:
            found |= {min(values)[1], max(values)[1]}
    return found
