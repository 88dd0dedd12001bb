"""Why an output failed, as far as looking at its bytes can tell, and what to do about it.

one byte, a short cycle     collapse: the model repeats itself
foreign bytes               bytes that the training data does not have
random bytes                nothing was learned, or the temperature is too high
little variety              phrases over and over, without a strict cycle
other data                  the bytes are familiar, the order in which they come is not
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.safety.floors import Check
from bitlm_core.telemetry.metrics import negentropy_of_bits

Kind = Literal["one byte", "cycle", "foreign bytes", "noise", "little variety", "other data", "parity"]
Bytes = NDArray[np.uint8]

MAX_CYCLE = 64
_MOST = 0.9
_FOREIGN = 0.05
_VARIETY = 0.5
"""Share of four-byte strings that are new; real text of a few hundred bytes has more than nine tenths."""

_NEXT: dict[Kind, str] = {
    "one byte": "raise temperature or train longer",
    "cycle": "raise temperature or train longer",
    "little variety": "raise temperature or train longer",
    "foreign bytes": "train on data like what is wanted, or use constraint='utf8' for text",
    "noise": "train longer, or lower temperature",
    "other data": "look at what the model was trained on, give it a prompt like its data, or calibrate_floors anew",
    "parity": "decode with errors='report' to find the groups, and generate again",
}


class Cause(NamedTuple):
    """What was seen, in words."""

    kind: Kind
    seen: str

    @property
    def text(self) -> str:
        """What was seen, and the call that follows."""
        return f"{self.seen}; {_NEXT[self.kind]}"


def reasons_for(checks: Sequence[Check], data: Bytes, reference: NDArray[np.float64]) -> tuple[str, ...]:
    """One reason for each broken check of an output."""
    broken = [check for check in checks if check.broken]
    cause = cause_of(data, reference, broken) if any(check.metric != "valid parity groups" for check in broken) else None
    return tuple(f"{_comparison(check)}: {_cause_of_check(check, cause).text}" for check in broken)


def cause_of(data: Bytes, reference: NDArray[np.float64], broken: Sequence[Check] = ()) -> Cause:
    """The likeliest cause; `reference` [256] are the byte counts that the output was compared with.

    Where nothing stands out in the bytes, the side on which the checks are broken decides.
    """
    counts = np.bincount(data, minlength=256)
    top = int(counts.argmax())
    if counts[top] >= _MOST * len(data):
        return Cause("one byte", f"output repeats one byte ({_shown(bytes([top]))}, {counts[top] / len(data):.0%} of it)")
    for period in range(2, min(MAX_CYCLE, len(data) // 3) + 1):
        same = float((data[period:] == data[:-period]).mean())
        if same >= _MOST:
            return Cause("cycle", f"output repeats a cycle of {period} bytes ({_shown(data[-period:].tobytes())})")
    foreign = reference[data] == 0
    share = float(foreign.mean())
    if _is_random(data):
        return Cause("noise", f"output looks like random bytes ({np.count_nonzero(counts)} different ones)")
    if share >= _FOREIGN:
        first = data[int(foreign.argmax())]
        return Cause("foreign bytes", f"{share:.0%} of output are bytes that the data lacks (first {_shown(bytes([first]))})")
    new = _variety(data)
    if new < _VARIETY:
        return Cause("little variety", f"output repeats its phrases (only {new:.0%} of its 4-byte strings are new)")
    low = {check.metric for check in broken if check.value < check.low}
    high = {check.metric for check in broken} - low
    if "S" in low or high & {"pair cost", "pair excess"}:
        return Cause("other data", "output has familiar bytes in an unfamiliar order, like other data")
    if high & {"C", "own cost"} or "K" in low:
        return Cause("noise", "output has less order than usual")
    return Cause("little variety", "output varies less than usual")


def _cause_of_check(check: Check, cause: Cause | None) -> Cause:
    if check.metric == "valid parity groups" or cause is None:
        return Cause("parity", "bits were changed after they were made")
    return cause


def _comparison(check: Check) -> str:
    unit = " bits per byte" if check.metric in ("pair cost", "pair excess", "own cost") else ""
    if check.value < check.low:
        return f"{check.metric} {check.value:.3g} < {check.low:.3g}{unit}"
    return f"{check.metric} {check.value:.3g} > {check.high:.3g}{unit}"


def _is_random(data: Bytes) -> bool:
    """Whether the bytes are about as even as random ones of that number would be."""
    random = np.random.default_rng(0).integers(0, 256, len(data), dtype=np.uint8)
    own, like = (negentropy_of_bits(np.unpackbits(part), 8) for part in (data, random))
    return own < like + 0.06


def _variety(data: Bytes) -> float:
    strings = {data[at : at + 4].tobytes() for at in range(len(data) - 3)}
    return len(strings) / (len(data) - 3)


def _shown(data: bytes) -> str:
    """Hexadecimal digits and, where they can be shown, characters."""
    text = f" {data.decode('ascii')!r}" if all(0x20 <= byte < 0x7F for byte in data) else ""
    return f"0x{data[:16].hex()}{'…' if len(data) > 16 else ''}{text[:24]}"
