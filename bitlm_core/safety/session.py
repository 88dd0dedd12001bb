"""How a whole session of outputs stands: averages of what was found in them, beside averages of their bounds.

Nothing is measured here, so a server can hold the gates of its sessions without the kernels.
"""

from __future__ import annotations

from bitlm_core.safety.floors import Check, GateState, Metric, Verdict

DECAY = 0.9
BURN_IN = 10
TOLERANCE = 1e-3
"""What an average may be out of bounds by: rounding, and what is long past."""


class Gate:
    """The averages of one session: exponential, `DECAY` for what was, corrected for how few there are.

    It triggers when, after `BURN_IN` judged outputs, an average is below the average of its floors (or above that of its
    ceilings), which differ between outputs of different lengths. One poor output hardly moves it, many slightly poor ones do.
    Healthy outputs bring it back.
    """

    def __init__(self) -> None:
        self._num_judged = 0
        self._averages: dict[Metric, _Averages] = {}

    def observe(self, verdict: Verdict | None) -> GateState:
        """Take note of an output; one that was not judged moves nothing."""
        if verdict is not None and verdict.judged:
            self._num_judged += 1
            for check in verdict.checks:
                self._averages.setdefault(check.metric, _Averages()).add(check)
        return self.state

    @property
    def state(self) -> GateState:
        """Where the session stands."""
        reasons = [text for metric, own in self._averages.items() if (text := own.reason(metric))]
        known = tuple(reasons) if self._num_judged >= BURN_IN else ()
        averages: dict[str, float] = {metric: own.value for metric, own in self._averages.items()}
        return GateState(num_judged=self._num_judged, triggered=bool(known), averages=averages, reasons=known)


class _Averages:
    """Of one metric: its values beside their floors, and beside their ceilings where they have any."""

    def __init__(self) -> None:
        self._low, self._high = _Average(), _Average()

    def add(self, check: Check) -> None:
        """Take note of one value."""
        self._low.add(check.value, check.session_low)
        if check.session_high is not None:
            self._high.add(check.value, check.session_high)

    @property
    def value(self) -> float:
        """The average of all values."""
        return self._low.pair[0]

    def reason(self, metric: Metric) -> str | None:
        """Why this average triggers the gate, if it does."""
        (value, floor), (same, ceiling) = self._low.pair, self._high.pair
        if value < floor - TOLERANCE:
            limit = f"< {floor:.3g}"
        elif same > ceiling + TOLERANCE:
            limit = f"> {ceiling:.3g}"
        else:
            return None
        return (
            f"{metric} averages {value:.3g} {limit} over this session's last outputs: look at several of them, train longer, "
            "or change temperature or prompts"
        )


class _Average:
    """Of values and of their limits, exponential, corrected for its start."""

    def __init__(self) -> None:
        self._weight = self._value = self._limit = 0.0

    def add(self, value: float, limit: float) -> None:
        """Take note of one value and its limit."""
        self._weight, self._value, self._limit = (
            DECAY * kept + (1 - DECAY) * new for kept, new in ((self._weight, 1.0), (self._value, value), (self._limit, limit))
        )

    @property
    def pair(self) -> tuple[float, float]:
        """Both averages, as if they had always been; zeros before the first value."""
        weight = self._weight or 1.0
        return self._value / weight, self._limit / weight
