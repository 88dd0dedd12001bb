"""Bits at eight to the byte, with their number kept: what a length in bytes alone would lose.

    0 1 0 0 0 0 0 1 · 1 0 1  →  0x41 0xA0, num_bits = 11        most significant first, zeros behind the last

In: arrays of 0 and 1. Out: `PackedBits`. Exact both ways, nothing is compressed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitlm_core.codec.parity import Bits, as_bits
from bitlm_core.errors import CodecError


@dataclass(frozen=True, eq=False)
class PackedBits:
    """`data`, `uint8[⌈num_bits / 8⌉]`; `num_bits`, how many of its bits are meant. Those behind them are 0.

    Raises `CodecError` for another type or shape (`dtype`, `shape`), a wrong length, or a set bit behind the last (`offset`).
    """

    data: NDArray[np.uint8]
    num_bits: int

    def __post_init__(self) -> None:
        data, size = self.data, -(-self.num_bits // 8)
        if data.dtype != np.uint8 or data.ndim != 1:
            raise CodecError(
                f"packed bits must be uint8[N], got {data.dtype}{list(data.shape)}; use np.frombuffer(data, np.uint8)",
                dtype=str(data.dtype),
                shape=data.shape,
            )
        if self.num_bits < 0 or len(data) != size:
            raise CodecError(
                f"{self.num_bits} bits are {max(0, size)} bytes, and {len(data)} are there; pass the bytes and the number "
                "that belong together",
                offset=min(len(data), max(0, size)),
            )
        spare = 8 * size - self.num_bits
        if spare and data[-1] & ((1 << spare) - 1):
            raise CodecError(
                f"byte {size - 1} (0x{data[-1]:02X}) has bits set behind the last of {self.num_bits}; they must be 0",
                offset=size - 1,
            )


def pack_bits(bits: ArrayLike) -> PackedBits:
    """`uint8[n]` of 0 and 1 → eight a byte. Raises `CodecError` as `as_bits`."""
    checked = as_bits(bits)
    return PackedBits(np.packbits(checked), checked.size)


def unpack_bits(packed: PackedBits) -> Bits:
    """The bits that were packed, `uint8[num_bits]`."""
    return np.unpackbits(packed.data, count=packed.num_bits)
