"""What comes of filling a template by diffusion, and how it stands meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.generation.autoregressive import Generation
from bitlm_core.generation.diffusion_sampling import Order
from bitlm_core.generation.template import KNOWN


@dataclass(frozen=True)
class FillingState:
    """Between two steps: the share done, and template as it stands with the bits known of each byte (see `Template`)."""

    share: float
    data: bytes
    known: bytes

    def settled_since(self, before: FillingState) -> NDArray[np.bool_]:
        """[bytes] True where a byte is known whole that was not, or was another, in the state before."""
        now, then = (np.frombuffer(state.data, np.uint8) for state in (self, before))
        known, knew = (np.frombuffer(state.known, np.uint8) == KNOWN for state in (self, before))
        found: NDArray[np.bool_] = known & (~knew | (now != then))
        return found


@dataclass(frozen=True, kw_only=True)
class Filling(Generation):
    """A template filled: `data` is all of it, `drawn` the bytes that were not known whole, in order.

    `bits_per_byte`: mean −log₂ of the probability each drawn byte had when it was last revealed (temperature 1, no constraint);
    what it tells is how sure the draw was. It is no likelihood. `steps`: passes of the network; `rehidden`: bytes that
    were hidden again. `order`: None for method flip. `ninth_bits`: one per drawn byte. `revealed_at`: of each byte of `data`
    the pass from which on it was what it is, counted from 1 over all windows; 0 for what was given. `parity_places`: where in
    `data` the network read out a wrong parity bit.
    """

    drawn: bytes
    ninth_bits: bytes
    steps: int
    windows: int
    rehidden: int
    order: Order | None
    revealed_at: tuple[int, ...]
    parity_places: tuple[int, ...]

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The drawn bytes as groups of nine bits."""
        groups = bytes_to_bits(self.drawn).reshape(-1, 9)
        groups[:, 8] = np.frombuffer(self.ninth_bits, np.uint8)
        return groups.ravel()
