"""Bits per byte: Σ −log₂ p(byte | bytes before it) / number of bytes, every byte scored once.

Three protocols, always named: `network` (the network alone, frozen), `static` (network and context mixing, both frozen)
and `online` (network frozen, the mixer's statistics learn from each byte after it was scored, as an adaptive compressor
does). Scoring never changes the model it is given: the mixer learns on a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import Window, document_windows
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.certainty import Certainty


@dataclass(frozen=True)
class Likelihood:
    """`bits_per_byte` is what adaptive coding would take (`online`); without context mixing all three are the same.

    `bits_per_byte_network`: None where there is no network. `bits_per_byte_bound`: of a network trained by diffusion, an upper
    bound on what the data cost it, see `bound`; the other figures are of reading from left to right. None for all others.
    `accuracy` and those after it: as `bits_per_byte` was found, see `certainty`.
    """

    bits_per_byte: float
    bits_per_byte_static: float
    bits_per_byte_network: float | None
    num_bytes: int
    num_windows: int
    bits_per_byte_bound: float | None = None
    accuracy: float | None = None
    byte_accuracy: float | None = None
    confidence_mean: float | None = None
    confidence_min: float | None = None
    confidence_max: float | None = None

    @property
    def perplexity(self) -> float:
        """Of bytes: among how many equally likely ones the model was left to choose, 1 … 256 and more."""
        return float(2.0**self.bits_per_byte)

    def bounded(self, bits_per_byte: float) -> Likelihood:
        """The same with this bound."""
        return replace(self, bits_per_byte_bound=bits_per_byte)


class Readings(NamedTuple):
    """Logits [N, 8] of one window's predicted bytes, by each protocol; without context mixing all three are the same."""

    network: NDArray[np.float32] | None
    static: NDArray[np.float32]
    online: NDArray[np.float32]


def score_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    documents: Iterable[tuple[int, int]] | None = None,
    observe: Callable[[Window, Readings], None] | None = None,
) -> Generator[float, None, Likelihood]:
    """Score `data` window by window, yielding the share done after each; returns the Likelihood.

    One of `model` and `mixer` may be None. `documents`: begin and end of each, in order; nothing is predicted across their
    edges, and what lies between them is not scored. `observe` is shown each window in turn. Raises ConfigError for empty data.
    """
    if not len(data):
        raise ConfigError("there are no bytes to score (0 bytes, at least 1): give some data")
    network = static = online = 0.0
    num_bytes = 0
    windows, certainty = 0, Certainty()
    frozen, learning = (mixer.copy(), mixer.copy()) if mixer else (None, None)
    stream = document_windows(documents or [(0, len(data))], window_bytes(model))
    for window, logits in expert_path_logits(model, data, stream):
        for copy in (frozen, learning):
            if copy and window.begins:
                copy.start_document()
        part = data[window.predicted : window.end]
        if frozen and learning:
            read = Readings(logits, frozen.read(part, logits, learn=False), learning.read(part, logits, learn=True))
        else:
            assert logits is not None  # noqa: S101 - without a mixer there is a network
            read = Readings(logits, logits, logits)
        if read.network is not None:
            network += total_nats(read.network, part)
        static += total_nats(read.static, part)
        online += total_nats(read.online, part)
        certainty.add(read.online, part)
        if observe:
            observe(window, read)
        num_bytes += len(part)
        windows += 1
        yield window.end / len(data)
    if not num_bytes:
        raise ConfigError("there are no bytes to score (0 bytes in all records, at least 1): give some data")
    per_byte = 1 / (math.log(2) * num_bytes)
    alone = network * per_byte if model else None
    return Likelihood(online * per_byte, static * per_byte, alone, num_bytes, windows, **certainty.figures())


def total_nats(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> float:
    """Σ over bytes and bits of −ln p, from [N, 8] path logits (p of a 1) and the [N] bytes; summed in double precision."""
    bits = np.unpackbits(data[:, None], axis=1)
    against = np.where(bits == 1, -logits, logits).astype(np.float64)
    return float(np.logaddexp(0.0, against).sum())
