"""Has a metric moved? Two neighbouring windows are compared, for each metric on its own.

    drift(m) = |mean of the last w values − mean of the w values before| > threshold

In: one mapping of metric names to values per observation. Out: the alerts that this observation raised.

A run that begins moves because it learns. So a metric is watched only once its two windows have agreed, to half of the
threshold, 2·`window` times in a row: before, it has not settled, and there is nothing that it could drift from. Without
`settles` it is watched from its first two windows on.

It sees moves between neighbouring windows, not a slow slide of less than `threshold` per window, and it knows no
units: metrics on other scales than 0–1 need a detector with a threshold of their own. What to do about an
alert (halt, log) is the caller's choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from bitlm_core.errors import ConfigError

WINDOW, THRESHOLD = 10, 0.12
"""Seven standard deviations of what chance does to C in a healthy run (0.04 a measurement), and far enough below 0.2 that a
shift by as much is found; at 0.2 itself it would be a toss-up."""


@dataclass(frozen=True)
class DriftAlert:
    """`metric` moved from a mean of `before` to a mean of `after`, more than `threshold`; seen at `step`."""

    metric: str
    step: int
    before: float
    after: float
    threshold: float

    @property
    def message(self) -> str:
        """One line for a person: what moved, from where to where, and the limit."""
        moved = abs(self.after - self.before)
        return (
            f"{self.metric} drifted from {self.before:.4g} to {self.after:.4g} by step {self.step}: "
            f"{moved:.4g} is more than {self.threshold:.4g}; compare the data and the loss around that step"
        )


class DriftState(TypedDict):
    """What a checkpoint keeps of each metric: its last ≤ 2w values, for how long it is quiet yet, how often it has agreed."""

    values: dict[str, list[float]]
    quiet: dict[str, int]
    agreed: NotRequired[dict[str, int]]


class DriftDetector:
    """Compares the last `window` values of each metric with the `window` before them.

    After an alert a metric keeps quiet until `window` more values have come, so a lasting move is told once or twice
    (the second time when the window after the alert still differs from the one before), not at every step.
    """

    def __init__(self, window: int = WINDOW, threshold: float = THRESHOLD, *, settles: bool = True) -> None:
        """`window` ≥ 1 values, `threshold` ≥ 0 in units of the metric; else `ConfigError` (`window`, `threshold`)."""
        if window < 1 or not (math.isfinite(threshold) and threshold >= 0):
            raise ConfigError(
                f"window is {window}, threshold is {threshold}; give a window of 1 or more and a threshold ≥ 0",
                window=window,
                threshold=threshold,
            )
        self.window = window
        self.threshold = threshold
        self.settles = settles
        self._agreed: dict[str, int] = {}
        self._values: dict[str, list[float]] = {}
        self._quiet: dict[str, int] = {}

    def observe(self, step: int, values: Mapping[str, float]) -> list[DriftAlert]:
        """Take one value per metric; the alerts they raise, in the order of `values`. A metric may be absent or new.

        Raises `ConfigError` (`metric`, `value`, `step`) for a value that is not finite, and then takes none of
        them: a NaN would blind both windows without a word.
        """
        for metric, value in values.items():
            if not math.isfinite(value):
                raise ConfigError(
                    f"{metric} is {value} at step {step}; drift needs finite values; stop or mend the run first",
                    metric=metric,
                    value=value,
                    step=step,
                )
        alerts = (self._take(step, metric, float(value)) for metric, value in values.items())
        return [alert for alert in alerts if alert is not None]

    def state(self) -> DriftState:
        """A copy in plain lists and numbers, fit for JSON, for `restore`; window and threshold are not in it."""
        values = {metric: list(kept) for metric, kept in self._values.items()}
        return {"values": values, "quiet": dict(self._quiet), "agreed": dict(self._agreed)}

    def restore(self, state: DriftState) -> None:
        """Go on where `state` was taken; a longer history than 2·`window` keeps its end. Without `agreed`, all have settled.

        Raises `ConfigError` (`metric`) for values that are not finite or a negative quiet count, changing nothing.
        """
        for metric, kept in state["values"].items():
            if not all(map(math.isfinite, kept)) or state["quiet"].get(metric, 0) < 0:
                raise ConfigError(f"the drift state of {metric} is damaged; start a new detector", metric=metric)
        self._values = {metric: list(kept)[-2 * self.window :] for metric, kept in state["values"].items()}
        self._quiet = {metric: min(count, self.window) for metric, count in state["quiet"].items()}
        self._agreed = dict(state.get("agreed", dict.fromkeys(state["values"], 2 * self.window)))

    def _take(self, step: int, metric: str, value: float) -> DriftAlert | None:
        kept = self._values.setdefault(metric, [])
        kept.append(value)
        del kept[: -2 * self.window]
        self._quiet[metric] = max(0, self._quiet.get(metric, 0) - 1)
        if self._quiet[metric] or len(kept) < 2 * self.window:
            return None
        before = math.fsum(kept[: self.window]) / self.window
        after = math.fsum(kept[self.window :]) / self.window
        moved, agreed = abs(after - before), self._agreed.get(metric, 0)
        if agreed < 2 * self.window:
            self._agreed[metric] = agreed + 1 if moved <= self.threshold / 2 else 0
        if moved <= self.threshold or (self.settles and agreed < 2 * self.window):
            return None
        self._quiet[metric] = self.window
        return DriftAlert(metric, step, before, after, self.threshold)
