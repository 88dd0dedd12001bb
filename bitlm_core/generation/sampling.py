"""From a distribution over bytes to one byte: temperature, top-p, constraint, draw.

Everything acts on whole bytes (256 log-probabilities), whatever the architecture, so the options mean the same everywhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Constraint = Literal["none", "utf8"]
Array = NDArray[np.float64]


class SamplingConfig(BaseModel):
    """How bytes are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float, Field(ge=0, le=10, description="0 takes the likeliest byte")] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, description="smallest set of bytes with this much probability")] = 1.0
    constraint: Annotated[Constraint, Field(description="utf8: only bytes that keep the output valid UTF-8")] = "none"
    seed: Annotated[int, Field(ge=0, lt=2**63, description="same seed, same bytes")] = 0


def byte_log_probs(node_logits: NDArray[np.float32]) -> Array:
    """[256] node logits of one byte → [256] ln p(byte), in double precision (see `models.output`)."""
    logits = node_logits.astype(np.float64)
    log_one, log_zero = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    log_probs = np.zeros(1)
    for depth in range(8):
        level = slice(1 << depth, 2 << depth)
        log_probs = np.stack([log_probs + log_zero[level], log_probs + log_one[level]], axis=1).ravel()
    return log_probs


def draw_byte(
    log_probs: Array, sampling: SamplingConfig, allowed: NDArray[np.bool_] | None, random: np.random.Generator
) -> int:
    """One byte; of equally likely ones at temperature 0, the smallest."""
    if allowed is not None:
        log_probs = np.where(allowed, log_probs, -np.inf)
    if sampling.temperature == 0:
        return int(log_probs.argmax())
    with np.errstate(over="ignore"):  # close to temperature 0 all but the likeliest overflow, to probability 0
        scaled = (log_probs - log_probs.max()) / sampling.temperature
    probs = np.exp(scaled)
    probs /= probs.sum()
    if sampling.top_p < 1:
        probs = keep_top_p(probs, sampling.top_p)
    return int(random.choice(256, p=probs))


def keep_top_p(probs: Array, top_p: float) -> Array:
    """The likeliest bytes whose probabilities reach top_p (at least one), renormalised; the rest 0 (arXiv 1904.09751)."""
    order = np.argsort(-probs, kind="stable")
    before = np.cumsum(probs[order]) - probs[order]
    kept = np.zeros_like(probs)
    chosen = order[before < top_p]
    kept[chosen] = probs[chosen]
    normalised: Array = kept / kept.sum()
    return normalised


class Utf8State:
    """Which bytes may come next so that everything written stays valid UTF-8 (RFC 3629, section 4).

    No overlong forms, no surrogates, nothing above U+10FFFF. It starts, and after foreign bytes restarts, between characters.
    """

    def __init__(self) -> None:
        self._pending = 0
        self._low, self._high = 0x80, 0xBF

    def allowed(self, room: int) -> NDArray[np.bool_]:
        """[256] True for bytes that fit now and whose character can be completed within `room` bytes, this one included."""
        allowed = np.zeros(256, np.bool_)
        if self._pending:
            allowed[self._low : self._high + 1] = True
            return allowed
        allowed[:0x80] = True
        for first, last, length in ((0xC2, 0xDF, 2), (0xE0, 0xEF, 3), (0xF0, 0xF4, 4)):
            allowed[first : last + 1] = length <= room
        return allowed

    def read(self, byte: int) -> None:
        """Follow one byte that was written."""
        if self._pending and self._low <= byte <= self._high:
            self._pending -= 1
            self._low, self._high = 0x80, 0xBF
            return
        self._pending = 1 * (0xC2 <= byte <= 0xDF) + 2 * (0xE0 <= byte <= 0xEF) + 3 * (0xF0 <= byte <= 0xF4)
        self._low = {0xE0: 0xA0, 0xF0: 0x90}.get(byte, 0x80)
        self._high = {0xED: 0x9F, 0xF4: 0x8F}.get(byte, 0xBF)
