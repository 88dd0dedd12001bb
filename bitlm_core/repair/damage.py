"""Which bytes are to be restored, and what is known of them beside the data itself.

    ranges       the bytes there say nothing
    parity       groups of nine bits that do not add up: most likely one bit of each is wrong
    suspicion    places that look odd: each byte is right, unless another one costs less by a margin (see `suspicion`)

What was there weighs by a table: weights[was, candidate] are nats that a candidate costs beyond what the model says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.bits import bits_to_bytes, bytes_to_bits
from bitlm_core.codec.parity import GROUP_BITS
from bitlm_core.errors import ConfigError
from bitlm_core.repair.documents import ONE, Documents

MAX_RANGES = 100_000
BIT_ERRORS = 0.01
"""The share of bits taken for wrong where parity failed: it says how much rarer three wrong bits are than one."""

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Damage:
    """data [N] as it came. places [P], ascending, each once. weights [256, 256], see above. certain: all places are damaged.

    document_starts: where the second and later documents of the data begin, ascending.
    """

    data: NDArray[np.uint8]
    places: NDArray[np.int64]
    weights: Weights
    certain: bool = True
    document_starts: NDArray[np.int64] = field(default_factory=lambda: ONE)

    @property
    def documents(self) -> Documents:
        """What is repaired apart. Raises ConfigError for starts that do not ascend within the data."""
        return Documents(self.document_starts, len(self.data))


def damaged_ranges(
    data: NDArray[np.uint8], ranges: Sequence[Sequence[int]], document_starts: NDArray[np.int64] = ONE
) -> Damage:
    """Bytes [offset, offset + length) for each of the ranges. Raises ConfigError for none, and for one beyond the data."""
    if not 1 <= len(ranges) <= MAX_RANGES:
        raise ConfigError(f"{len(ranges):,} ranges were given, 1 to {MAX_RANGES:,} are possible: name the damaged places")
    marked = np.zeros(len(data), np.bool_)
    for given in ranges:
        if len(given) != 2 or given[0] < 0 or given[1] < 1 or given[0] + given[1] > len(data):
            raise ConfigError(
                f"{list(given)} is no range [offset, length] within the {len(data):,} bytes of the data: "
                "offsets count from 0, and lengths are at least 1"
            )
        marked[given[0] : given[0] + given[1]] = True
    return Damage(data, np.flatnonzero(marked), np.zeros((256, 256)), document_starts=document_starts)


def failed_parity(packed: NDArray[np.uint8]) -> Damage:
    """The bytes of a packed stream of nine-bit groups, eight data bits and even parity each; places: those that do not add up.

    Raises ConfigError for less than one group.
    """
    decoded = bits_to_bytes(np.unpackbits(packed), errors="report")
    if not decoded.data:
        raise ConfigError(f"{8 * len(packed)} bits hold no group of {GROUP_BITS} bits: give a packed stream of such groups")
    places = np.array(decoded.bad_groups, np.int64)
    return Damage(np.frombuffer(decoded.data, np.uint8), places, _flips())


def packed_groups(data: NDArray[np.uint8]) -> bytes:
    """The stream that `failed_parity` takes, with parity that holds."""
    return np.packbits(bytes_to_bits(data.tobytes())).tobytes()


@lru_cache(maxsize=1)
def _flips() -> Weights:
    """By how many bits must have flipped, the parity bit among them: an odd number, for else the parity would hold."""
    numbers = np.arange(256, dtype=np.uint8)
    flipped = np.bitwise_count(numbers[:, None] ^ numbers[None]).astype(np.int64) | 1
    found: Weights = (flipped - 1) * math.log((1 - BIT_ERRORS) / BIT_ERRORS)
    return found
