"""What comes of filling a template by diffusion, and how it stands meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.generation.autoregressive import Generation
from bitlm_core.generation.diffusion_sampling import Order


@dataclass(frozen=True)
class FillingState:
    """Between two steps: the share done, and template as it stands with the bits known of each byte (see `Template`)."""

    share: float
    data: bytes
    known: bytes


@dataclass(frozen=True, kw_only=True)
class Filling(Generation):
    """A template filled: `data` is all of it, `drawn` the bytes that were not known whole, in order.

    `bits_per_byte`: mean −log₂ of the probability each drawn byte had when it was last revealed (temperature 1, no constraint);
    what it tells is how sure the draw was. It is no likelihood. `steps`: passes of the network; `rehidden`: bytes that
    were hidden again. `order`: None for method flip. `ninth_bits`: one per drawn byte.
    """

    drawn: bytes
    ninth_bits: bytes
    steps: int
    windows: int
    rehidden: int
    order: Order | None

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The drawn bytes as groups of nine bits."""
        groups = bytes_to_bits(self.drawn).reshape(-1, 9)
        groups[:, 8] = np.frombuffer(self.ninth_bits, np.uint8)
        return groups.ravel()
