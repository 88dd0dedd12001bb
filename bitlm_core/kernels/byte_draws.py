"""One byte from the logits of its tree, in double precision: the compiled twin of `generation.sampling`.

A draw is one number u in [0, 1): the byte is the first whose cumulative probability exceeds it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.decode_layout import part
from bitlm_core.kernels.mixing_layout import Int, kernel


@kernel
def softplus(x: Any) -> Any:
    """ln(1 + e^x): −ln of the probability of a bit whose logit is −x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@part
def byte_log_probs(nodes: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """[256] node logits → [256] ln p(byte)."""
    out[0] = 0.0
    for depth in range(8):
        for i in range((1 << depth) - 1, -1, -1):
            logit, above = nodes[(1 << depth) + i], out[i]
            out[2 * i + 1] = above - softplus(-logit)
            out[2 * i] = above - softplus(logit)


@part
def pick(log_probs: NDArray[np.float64], temperature: Any, top_p: Any, u: Any, scratch: NDArray[np.float64]) -> Int:
    """A byte; temperature 0: the likeliest, of equally likely ones the smallest. scratch: [2, 256]."""
    probs, kept = scratch[0], scratch[1]
    best: Int = 0
    for b in range(256):
        if log_probs[b] > log_probs[best]:
            best = b
    if temperature == 0:
        return best
    total = 0.0
    for b in range(256):
        probs[b] = math.exp((log_probs[b] - log_probs[best]) / temperature)
        total += probs[b]
    if top_p < 1:
        keep_top_p(probs, top_p * total, kept)
        total = 0.0
        for b in range(256):
            probs[b] = kept[b]
            total += kept[b]
    reached = 0.0
    last: Int = best
    for b in range(256):
        if probs[b] > 0:
            reached += probs[b]
            last = b
            if reached > u * total:
                break
    return last


@kernel
def keep_top_p(probs: NDArray[np.float64], enough: float, kept: NDArray[np.float64]) -> None:
    """The likeliest until their sum is `enough`, at least one; the rest 0. `probs` is used up."""
    for b in range(256):
        kept[b] = 0.0
    reached = 0.0
    for _ in range(256):
        if reached >= enough:
            break
        likeliest = 0
        for b in range(256):
            if probs[b] > probs[likeliest]:
                likeliest = b
        kept[likeliest] = probs[likeliest]
        reached += probs[likeliest]
        probs[likeliest] = -1.0
