"""The upper bound on bits per byte of a network that was trained by diffusion.

Such a network gives no likelihood: what a byte costs depends on the order in which bytes are told. The mean over all orders is
an upper bound on what the data cost under the mixture of them (see `diffusion.corruption`), and is estimated here: in windows,
of each of which n bytes are hidden, n stratified over all windows and passes. It is drawn with a fixed seed, so that two
models are compared on the same masks.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.diffusion.corruption import bound_nats, hidden_nats, hide_share
from bitlm_core.diffusion.schedule import WHOLE_BYTES, Masking
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.likelihood import Likelihood
from bitlm_core.scoring.score import Score

WINDOW_BYTES = 128
"""Longer ones cost more and change the bound little."""
MOST_BYTES = 1 << 16
"""Of data that has more, so many are taken, evenly spread: the bound is an estimate in any case."""
LEAST_DRAWS = 64
"""Masks drawn at least: little data is gone through several times."""
_POSITIONS = 4096  # of a pass
_SEED = 0

Scored = TypeVar("Scored", Likelihood, Score)


@dataclass(frozen=True)
class Bound:
    """bits_per_byte_bound: the mean; standard_error: of it, by chance. num_bytes: those it is of; draws: masks drawn."""

    bits_per_byte_bound: float
    standard_error: float
    num_bytes: int
    draws: int


def bound_steps(
    model: LanguageModel,
    data: NDArray[np.uint8],
    documents: Iterable[tuple[int, int]] | None = None,
    masking: Masking = WHOLE_BYTES,
) -> Generator[float, None, Bound]:
    """Estimate the bound of data, yielding the share done. Raises ValueError for no bytes at all."""
    spans = _windows(list(documents or [(0, len(data))]), min(model.config.max_bytes, WINDOW_BYTES))
    passes = -(-LEAST_DRAWS // len(spans))
    draws = len(spans) * passes
    generator = torch.Generator().manual_seed(_SEED)
    share = (torch.randperm(draws, generator=generator) + torch.rand(draws, generator=generator)) / draws
    # Windows of one length go together; almost all of them have the same.
    lengths = np.tile(spans[:, 1] - spans[:, 0], passes)
    order = np.argsort(lengths, kind="stable")
    per_pass = max(1, _POSITIONS // (int(lengths.max()) * model.positions_per_byte))
    bits = np.zeros(draws)
    for start in range(0, draws, per_pass):
        chosen = order[start : start + per_pass]
        for length in np.unique(lengths[chosen]).tolist():
            rows = chosen[lengths[chosen] == length]
            window = np.stack([data[begin : begin + length] for begin in spans[rows % len(spans), 0]]).astype(np.int64)
            bits[rows] = _bits(model, torch.from_numpy(window), share[torch.from_numpy(rows)], generator, masking)
        yield min(1.0, (start + per_pass) / draws)
    weights = lengths / lengths.sum()
    mean = float(bits @ weights)
    # How much is hidden varies evenly over the draws, so only what differs between neighbours in that is chance.
    neighbours = np.diff(bits[np.argsort(share.numpy(), kind="stable")])
    error = math.sqrt(float((neighbours**2).mean() / 2 * (weights**2).sum()))
    return Bound(mean, error, int((spans[:, 1] - spans[:, 0]).sum()), draws)


def with_bound(
    scoring: Generator[float, None, Scored],
    model: LanguageModel | None,
    diffusion_steps: int,
    data: NDArray[np.uint8],
    documents: Iterable[tuple[int, int]] | None,
) -> Generator[float, None, Scored]:
    """The same scoring and, where the network was trained by diffusion, the bound in its likelihood."""
    if model is None or not diffusion_steps:
        return (yield from scoring)
    found: Scored = yield from scoring
    spans = None if documents is None else [(int(begin), int(end)) for begin, end in documents]
    bound = yield from _last(bound_steps(model, data, spans))
    return found.bounded(bound.bits_per_byte_bound)


def _last(steps: Generator[float, None, Bound]) -> Generator[float, None, Bound]:
    """The same steps where all but they are done: a share is never less than one before."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            found: Bound = ended.value
            return found
        yield 1.0


def _windows(documents: list[tuple[int, int]], length: int) -> NDArray[np.int64]:
    """[W, 2] begin and end of the windows of all documents; of very much data some, evenly spread."""
    spans = [(at, min(at + length, end)) for begin, end in documents for at in range(begin, end, length)]
    if not spans:
        raise ValueError("there are no bytes whose cost could be bounded")
    most = max(1, MOST_BYTES // length)
    if len(spans) > most:
        spans = [spans[index * len(spans) // most] for index in range(most)]
    return np.array(spans, np.int64)


@torch.no_grad()
def _bits(
    model: LanguageModel, data_BT: Tensor, share_B: Tensor, generator: torch.Generator, masking: Masking
) -> NDArray[np.float64]:
    """[B] bits per byte of windows of which the given shares are hidden."""
    known_BT, count_B = hide_share(data_BT.shape[1], share_B, generator, masking)
    data_BT, known_BT = data_BT.to(model.device), known_BT.to(model.device)
    nodes = model.predict_masked(data_BT, known_BT).nodes
    nats_B = bound_nats(hidden_nats(nodes, data_BT, known_BT, masking), count_B, masking)
    return nats_B.double().cpu().numpy() / math.log(2)
