"""The mixer as the decoding loop uses it: the only place where that loop depends on what a mixer is made of.

Several streams can share a frozen mixer: what it has learned is one, where it stands is each stream's own (a *place*).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.context_mixing import _learn, _predict
from bitlm_core.kernels.decode_layout import part
from bitlm_core.kernels.mixing_contexts import advance
from bitlm_core.kernels.mixing_layout import CONTEXT_SIZE, EXPERT_LIMIT, EXPERT_ONE, NUM_FIELDS, Int, Memory, Scratch, Tables
from bitlm_core.kernels.mixing_slots import begin, locate

EXPERT_SCALE = np.float32(EXPERT_ONE)
MOST_NATS = np.float32((EXPERT_LIMIT + 1) / EXPERT_ONE)  # before scaling, so that no float32 overflows


@part
def start_byte(m: Memory, t: Tables, s: Scratch, learn: Int) -> None:
    """The eight predictions of a byte are about to be made."""
    begin(m, t, s, learn != 0)


@part
def start_low_nibble(m: Memory, t: Tables, s: Scratch, node: Int) -> None:
    """Predictions of bits 4 to 7 are about to be made, below node 16 … 31."""
    locate(m, t, s, 1, node)


@part
def mixed_logit(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, says: Any) -> Int:
    """What the mixer says of bit k, in 1/1024 nat, with the network's logit (float32, nats) as its expert."""
    bounded = min(MOST_NATS, max(-MOST_NATS, says))
    expert = min(EXPERT_LIMIT, max(-EXPERT_LIMIT, np.int64(np.rint(bounded * EXPERT_SCALE))))
    return _predict(m, t, s, node, k, expert, 1)


@part
def end_byte(m: Memory, t: Tables, s: Scratch, byte: Int, learn: Int) -> None:
    """Move the mixer past a byte whose eight predictions were made, and teach it."""
    if learn:
        _learn(m, t, s, byte)
    else:
        advance(m, t, byte, False)


@part
def go_to(m: Memory, recent: NDArray[np.uint8], numbers: NDArray[np.int64]) -> None:
    """Let the mixer stand where a place says."""
    for i in range(recent.size):  # an assignment would allocate
        m.recent[i] = recent[i]
    for i in range(CONTEXT_SIZE):
        m.context[i] = numbers[i]
    for row in range(2):
        for i in range(NUM_FIELDS):
            m.fields[row, i] = numbers[CONTEXT_SIZE + row * NUM_FIELDS + i]


@part
def note_place(m: Memory, recent: NDArray[np.uint8], numbers: NDArray[np.int64]) -> None:
    """Write where the mixer stands."""
    for i in range(recent.size):
        recent[i] = m.recent[i]
    for i in range(CONTEXT_SIZE):
        numbers[i] = m.context[i]
    for row in range(2):
        for i in range(NUM_FIELDS):
            numbers[CONTEXT_SIZE + row * NUM_FIELDS + i] = m.fields[row, i]


def place_of(m: Memory) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Copies of what `go_to` takes."""
    return m.recent.copy(), np.concatenate([m.context, m.fields.ravel()])
