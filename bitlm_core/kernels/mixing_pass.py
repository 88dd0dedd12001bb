"""A frozen mixer taken past bytes that nobody asks it about: only its context moves, which costs a fraction of predicting."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_contexts import advance
from bitlm_core.kernels.mixing_layout import Int, Memory, Tables, cached_kernel, sources_stamp


@lru_cache(maxsize=1)
def pass_entry_point() -> Callable[..., int]:
    """(memory, tables, data [N]): compiled on first use, or taken from numba's cache on disk."""
    stamp = sources_stamp()

    @cached_kernel
    def pass_over(m: Memory, t: Tables, data: NDArray[np.uint8]) -> Int:
        for i in range(data.size):
            advance(m, t, np.int64(data[i]), False)
        return stamp

    return pass_over
