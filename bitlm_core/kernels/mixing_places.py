"""A frozen mixer asked at many places at once: what one byte or another would be worth there, and what would follow it.

A *place* is where a stream stands (see `mixing_step`): its context alone, so that many cost little beside one set of tables.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.context_mixing import _all_nodes, _read
from bitlm_core.kernels.mixing_layout import Int, Memory, Scratch, Tables, cached_kernel, sources_stamp
from bitlm_core.kernels.mixing_step import go_to, note_place


class PlaceEntryPoints(NamedTuple):
    """The compiled kernels. Both leave the memory standing somewhere; nothing is learned. Places: `mixing.fused.Places`.

    read_rows: from the place `starts[b]` read data[b], for each row b, with expert [B, n, 8] or [B, 0, 8] for none; its
    logits into out [B, n, 8], and where it then stands into `after`, unless that has no rows.
    nodes_of: all nodes of the byte that comes at each place, into out [P, 256], with expert [P, 256] or [P, 0].
    """

    read_rows: Callable[..., int]
    nodes_of: Callable[..., int]


@lru_cache(maxsize=1)
def place_entry_points() -> PlaceEntryPoints:
    """Compile on first use, or take from numba's cache on disk."""
    stamp = sources_stamp()

    @cached_kernel
    def read_rows(
        m: Memory,
        t: Tables,
        s: Scratch,
        places: Any,
        starts: NDArray[np.int64],
        data: NDArray[np.uint8],
        expert: NDArray[np.int32],
        out: NDArray[np.int32],
        after: Any,
    ) -> Int:
        has_expert = (expert.shape[1] > 0) * 1
        for b in range(starts.size):
            go_to(m, places.recent[starts[b]], places.numbers[starts[b]])
            _read(m, t, s, data[b], expert[b] if has_expert else out[b], has_expert, False, out[b])
            if after.numbers.shape[0] > 0:
                note_place(m, after.recent[b], after.numbers[b])
        return stamp

    @cached_kernel
    def nodes_of(m: Memory, t: Tables, s: Scratch, places: Any, expert: NDArray[np.int32], out: NDArray[np.int32]) -> Int:
        has_expert = (expert.shape[1] > 0) * 1
        for p in range(out.shape[0]):
            go_to(m, places.recent[p], places.numbers[p])
            _all_nodes(m, t, s, expert[p] if has_expert else out[p], has_expert, False, out[p])
        return stamp

    return PlaceEntryPoints(read_rows, nodes_of)
