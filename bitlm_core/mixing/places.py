"""Many places of a frozen mixer side by side: to weigh what might stand there by what follows.

A mixer's tables take many MiB, a place a few KiB: alternatives that differ only in the bytes read share the tables.
P places, B rows, n bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_layout import Memory, new_scratch
from bitlm_core.kernels.mixing_places import place_entry_points
from bitlm_core.kernels.mixing_step import place_of
from bitlm_core.mixing.fused import Places
from bitlm_core.mixing.mixer import OUTPUT_ONE, ContextMixer, stretched
from bitlm_core.mixing.tables import tables

_NOWHERE = Places(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.int64))


class PlacedMixer:
    """Reads at places of a mixer, with all that it has learned by then and without teaching it."""

    def __init__(self, mixer: ContextMixer) -> None:
        self._mixer = mixer
        self._memory = Memory(**mixer.frozen().own_arrays)
        self._scratch = new_scratch()

    def here(self) -> Places:
        """The one place where the mixer itself stands."""
        recent, numbers = place_of(Memory(**self._mixer.own_arrays))
        return Places(recent[None], numbers[None])

    def node_logits(self, places: Places, expert: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """[P, 256] logits of all nodes of the byte that comes at each place; expert [P, 256] alike, or None."""
        out = np.zeros((len(places.numbers), 256), np.int32)
        says = np.zeros((len(out), 0), np.int32) if expert is None else stretched(expert, out.shape)
        place_entry_points().nodes_of(self._memory, tables(), self._scratch, places, says, out)
        return out.astype(np.float32) / np.float32(OUTPUT_ONE)

    def read(
        self,
        places: Places,
        starts: NDArray[np.int64],
        data: NDArray[np.uint8],
        expert: NDArray[np.float32] | None = None,
        *,
        move: bool = True,
    ) -> tuple[NDArray[np.float32], Places]:
        """Read data [B, n], row b from place starts[b]: logits [B, n, 8] of its bits, and with `move` the places after it."""
        num_rows, size = data.shape
        out = np.zeros((num_rows, size, 8), np.int32)
        says = np.zeros((num_rows, 0, 8), np.int32) if expert is None else stretched(expert, out.shape)
        after = _NOWHERE
        if move:
            after = Places(*(np.empty((num_rows, part.shape[1]), part.dtype) for part in places))
        contiguous = np.ascontiguousarray(data)
        place_entry_points().read_rows(self._memory, tables(), self._scratch, places, starts, contiguous, says, out, after)
        return out.astype(np.float32) / np.float32(OUTPUT_ONE), after
