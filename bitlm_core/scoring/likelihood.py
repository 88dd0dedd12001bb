"""Bits per byte: Σ −log₂ p(byte | bytes before it) / number of bytes, every byte scored once.

Three protocols, always named: `network` (the network alone, frozen), `static` (network and context mixing, both frozen)
and `online` (network frozen, the mixer's statistics learn from each byte after it was scored, as an adaptive compressor
does). Scoring never changes the model it is given: the mixer learns on a copy.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import document_windows
from bitlm_core.models.interface import LanguageModel


@dataclass(frozen=True)
class Likelihood:
    """`bits_per_byte` is what adaptive coding would take (`online`); without context mixing all three are the same.

    `bits_per_byte_network`: None where there is no network.
    """

    bits_per_byte: float
    bits_per_byte_static: float
    bits_per_byte_network: float | None
    num_bytes: int
    num_windows: int


def score_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    documents: Iterable[tuple[int, int]] | None = None,
) -> Generator[float, None, Likelihood]:
    """Score `data` window by window, yielding the share done after each; returns the Likelihood.

    One of `model` and `mixer` may be None. `documents`: begin and end of each, in order; nothing is predicted across their
    edges. Raises ConfigError for empty data.
    """
    if not len(data):
        raise ConfigError("there are no bytes to score (0 bytes, at least 1): give some data")
    network = static = online = 0.0
    windows = 0
    frozen, learning = (mixer.copy(), mixer.copy()) if mixer else (None, None)
    stream = document_windows(documents or [(0, len(data))], window_bytes(model))
    for window, logits in expert_path_logits(model, data, stream):
        for copy in (frozen, learning):
            if copy and window.begins:
                copy.start_document()
        part = data[window.predicted : window.end]
        if logits is not None:
            network += total_nats(logits, part)
        if frozen and learning:
            static += total_nats(frozen.read(part, logits, learn=False), part)
            online += total_nats(learning.read(part, logits, learn=True), part)
        windows += 1
        yield window.end / len(data)
    per_byte = 1 / (math.log(2) * len(data))
    if not mixer:
        static = online = network
    alone = network * per_byte if model else None
    return Likelihood(online * per_byte, static * per_byte, alone, len(data), windows)


def total_nats(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> float:
    """Σ over bytes and bits of −ln p, from [N, 8] path logits (p of a 1) and the [N] bytes; summed in double precision."""
    bits = np.unpackbits(data[:, None], axis=1)
    against = np.where(bits == 1, -logits, logits).astype(np.float64)
    return float(np.logaddexp(0.0, against).sum())
