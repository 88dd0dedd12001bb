"""The ninth bit: what it is, and how to repair it.

    parity(b_0 … b_7) = (b_0 + … + b_7) mod 2        even parity: the nine bits of a group sum to an even number
                      = 1 − that                     odd parity

In: `uint8` arrays of bits (0 or 1) or of bytes. Out: `uint8` arrays; inputs are never changed.

A parity bit detects an odd number of flipped bits in its group. It does not see an even number, and it
cannot say which bit flipped: `enforce_parity` makes a sequence decodable, it does not correct it.

`as_bits` also lives here, the lowest file of the room, because every other file must refuse the same things.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitlm_core.errors import CodecError, ConfigError

Bits = NDArray[np.uint8]
Parity = Literal["even", "odd", "none"]

DATA_BITS = 8
GROUP_BITS = 9


def as_bits(bits: ArrayLike) -> Bits:
    """`bits` as a one-dimensional `uint8` array of 0 and 1; a `uint8` array comes back itself, uncopied.

    Accepts booleans and integers of any width, and anything empty. Raises `CodecError` with `shape` for more
    or fewer than one dimension, `dtype` for values that are not whole numbers, `index` and `value` for the
    first value other than 0 or 1.
    """
    given = np.asarray(bits)
    if given.ndim != 1:
        raise CodecError(f"bits must be one-dimensional, got shape {given.shape}; flatten them first", shape=given.shape)
    if given.size == 0:
        return given.astype(np.uint8)
    if given.dtype.kind not in "bui":
        raise CodecError(f"bits must be whole numbers, got dtype {given.dtype}; convert them to uint8", dtype=str(given.dtype))
    if given.max() > 1 or given.min() < 0:
        index = int(np.flatnonzero((given != 0) & (given != 1))[0])
        value = int(given[index])
        raise CodecError(f"bit {index} is {value}, not 0 or 1; pass bits, not bytes", index=index, value=value)
    return given.astype(np.uint8, copy=False)


def parity_bits(data: NDArray[np.uint8]) -> Bits:
    """Even-parity bit of each byte: (b_0 + … + b_7) mod 2, `uint8[N] → uint8[N]`.

    Odd parity is `1 - parity_bits(data)`; the order of the bits in the byte makes no difference.
    Raises `CodecError` (`dtype`, `shape`) for anything but a one-dimensional `uint8` array.
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        raise CodecError(
            f"bytes must be uint8[N], got {data.dtype}{list(data.shape)}; use np.frombuffer(data, np.uint8)",
            dtype=str(data.dtype),
            shape=data.shape,
        )
    return np.bitwise_count(data) & np.uint8(1)


def group_parity(octets: NDArray[np.uint8], parity: Parity) -> Bits:
    """The ninth bit that the group of each byte should have: `uint8[N] → uint8[N]`; `parity` is `even` or `odd`.

    Raises `ConfigError` (`value`, `allowed`) for any other parity.
    """
    if parity not in ("even", "odd"):
        raise ConfigError(
            f"parity is {parity!r}; groups of nine have 'even' or 'odd' parity", value=parity, allowed=("even", "odd")
        )
    return parity_bits(octets) ^ np.uint8(parity == "odd")


def enforce_parity(bits: ArrayLike, *, strict: bool = True, parity: Literal["even", "odd"] = "even") -> tuple[Bits, int]:
    """Recompute bit 8 of every whole group of 9: (a corrected copy of `bits`, how many groups changed).

    The eight data bits are never touched. A length that is no multiple of 9 raises `CodecError` (`length`,
    `group_bits`) when `strict`; otherwise the last `len(bits) % 9` bits are copied as they are.
    """
    repaired = as_bits(bits).copy()
    tail = repaired.size % GROUP_BITS
    if strict and tail:
        raise CodecError(
            f"{repaired.size} bits end in an incomplete group of {tail}; "
            f"pass a multiple of {GROUP_BITS} bits, or strict=False to leave the tail alone",
            length=repaired.size,
            group_bits=GROUP_BITS,
        )
    groups = repaired[: repaired.size - tail].reshape(-1, GROUP_BITS)
    wanted = group_parity(np.packbits(groups[:, :DATA_BITS]), parity)
    changed = int(np.count_nonzero(groups[:, DATA_BITS] != wanted))
    groups[:, DATA_BITS] = wanted
    return repaired, changed
