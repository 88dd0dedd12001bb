"""Arrays around the coding kernels: an encoder that takes bytes piece by piece, and a decoder that gives them.

Both are driven either by a mixer (`mixed`) or by the node logits of whatever predicts (`node`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_coder import coding_entry_points
from bitlm_core.kernels.mixing_layout import HEAD, TOTAL, Memory, Scratch, Tables
from bitlm_core.kernels.mixing_undo import TRACE, TRACED, put_back_entry_point
from bitlm_core.kernels.range_coder import (
    AT,
    LOGIT_ONE,
    MOST_BYTES_PER_BYTE,
    REGISTER_BYTES,
    STATE_SIZE,
    Coder,
    rarities,
)

PIECE = 1 << 14  # bytes coded in one call: room for the worst case is made before each
_NO_EXPERT = np.zeros((0, 8), np.int32)
_NO_TRACE = np.zeros((0, TRACE), np.int64)


def new_trace(num_bytes: int) -> NDArray[np.int64]:
    """Room for the places that a mixer learns into while it codes so many bytes; see `ContextMixer.undo`."""
    return np.zeros((num_bytes, TRACE), np.int64)


class ByteEncoder:
    """Bytes in, coded bytes out when all have been given."""

    def __init__(self) -> None:
        self._coder = Coder(np.zeros(STATE_SIZE, np.int64), np.zeros(256, np.uint8))
        coding_entry_points().start(self._coder, 0)

    def mixed(
        self,
        m: Memory,
        t: Tables,
        s: Scratch,
        data: NDArray[np.uint8],
        expert: NDArray[np.int32] | None,
        learn: bool,
        trace: NDArray[np.int64] | None = None,
    ) -> None:
        """Encode data [N] with a mixer; expert: stretches [N, 8]; trace: see `new_trace`."""
        code = coding_entry_points().code
        for start in range(0, data.size, PIECE):
            piece = data[start : start + PIECE].copy()
            says = _NO_EXPERT if expert is None else np.ascontiguousarray(expert[start : start + PIECE])
            coder = self.with_room(piece.size)
            to = _NO_TRACE if trace is None else trace[start : start + PIECE]
            code(m, t, s, coder, rarities(), piece, says, 0, learn, to)

    def node(self, logits: NDArray[np.float32], byte: int) -> None:
        """Encode one byte with the logits [256] of its tree, in nats."""
        coding_entry_points().nodes(self.with_room(1), rarities(), integer_logits(logits), byte)

    def finish(self) -> bytes:
        """All coded bytes, the fewest that decode."""
        coder = self.with_room(0)
        return coder.data[: coding_entry_points().finish(coder)].tobytes()

    def with_room(self, num_bytes: int) -> Coder:
        """The coder, for kernels that code at most so many bytes: they fit, however badly they are predicted."""
        done = int(self._coder.state[AT])
        needed = done + MOST_BYTES_PER_BYTE * num_bytes + REGISTER_BYTES
        if needed > self._coder.data.size:
            larger = np.zeros(max(needed, 2 * done), np.uint8)
            larger[:done] = self._coder.data[:done]
            self._coder = self._coder._replace(data=larger)
        return self._coder


class ByteDecoder:
    """Coded bytes in, the bytes they stand for out, in the order and by the predictions they were encoded with.

    Any bytes decode to something, without end: who knows how many there were must say so, and check them.
    """

    def __init__(self, coded: NDArray[np.uint8]) -> None:
        self.coder = Coder(np.zeros(STATE_SIZE, np.int64), np.array(coded))
        """For kernels that decode."""
        coding_entry_points().start(self.coder, 1)

    def mixed(
        self,
        m: Memory,
        t: Tables,
        s: Scratch,
        out: NDArray[np.uint8],
        learn: bool,
        trace: NDArray[np.int64] | None = None,
    ) -> None:
        """Decode the next bytes into out [N], contiguous, with a mixer; trace: see `new_trace`."""
        to = _NO_TRACE if trace is None else trace
        coding_entry_points().code(m, t, s, self.coder, rarities(), out, _NO_EXPERT, 1, learn, to)

    def node(self, logits: NDArray[np.float32]) -> int:
        """Decode one byte with the logits [256] of its tree, in nats."""
        return coding_entry_points().nodes(self.coder, rarities(), integer_logits(logits), -1)


def integer_logits(logits: NDArray[np.float32]) -> NDArray[np.int32]:
    """Logits in nats -> integers in 1/1024 nat, within ±31 nats: what is coded with, whoever predicts."""
    scaled = np.clip(logits, np.float32(-31), np.float32(31)) * np.float32(LOGIT_ONE)
    integers: NDArray[np.int32] = np.rint(scaled).astype(np.int32)
    return integers


def put_back(memory: Memory, kept: Memory, trace: NDArray[np.int64]) -> None:
    """Make a memory that was like `kept`, and has learned what was traced, like it again.

    The large tables only where they were learned into, the history only where it grew, all the rest as a whole.
    """
    put_back_entry_point()(memory, kept, trace, np.zeros(len(memory.weights), np.uint8))
    size, start = memory.history.size, int(kept.context[HEAD])
    grown = min(size, int(memory.context[TOTAL] - kept.context[TOTAL]))
    for begin, end in ((start, min(size, start + grown)), (0, max(0, start + grown - size))):
        memory.history[begin:end] = kept.history[begin:end]
    for name, array in memory._asdict().items():
        if name != "history" and name not in TRACED:
            np.copyto(array, getattr(kept, name))
