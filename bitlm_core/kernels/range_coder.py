"""A binary range coder in integers: bits with their probabilities to bytes and back, at less than a byte over their cost.

The coded bytes are the digits, base 256, of a number inside the interval that the bits have narrowed [0, 1) down to. The
decoder reads zeros behind the end, so that the shortest number in the interval can be chosen and its last zeros left out.
Registers hold 40 bits and probabilities 24: products stay below 2^62 and signed, so plain Python agrees on every bit.

No kernel here writes or reads outside its arrays, whatever it is given: an encoder whose array is full goes on counting
(`AT` is then more than there is room for), and a decoder may be given any bytes.
"""

from __future__ import annotations

import decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.kernels.mixing_layout import Int, kernel

PROBABILITY_BITS = 24
MOST_BYTES_PER_BYTE = 25
"""No byte of data can take more, however badly it is predicted: 8 bits of 24, and what is in the registers."""
REGISTER_BYTES = 5
"""What `finish_encoding` writes at most."""
LOGIT_ONE = 1024
"""Logits come in 1/1024 nat."""

_TOP = 1 << 40
_BOTTOM = 1 << 32
_STEP = 32  # units of a logit between two entries of the table
_STEPS = 512  # entries up to 16 nats, where the less likely bit has two parts in 2^24
# indices into Coder.state
LOW, RANGE, AT = range(3)
STATE_SIZE = 3


class Coder(NamedTuple):
    """An encoder or a decoder, and the coded bytes that it writes or reads."""

    state: NDArray[np.int64]
    """[3] LOW: where the interval begins (decoding: how far inside it the number lies); its RANGE; AT: bytes done."""
    data: NDArray[np.uint8]


@lru_cache(maxsize=1)
def rarities() -> NDArray[np.int32]:
    """[514] the probability of the less likely bit in 2^-24, by |logit| in 1/32 nat; correctly rounded on every machine."""
    with decimal.localcontext(decimal.Context(prec=40)):
        one, full = decimal.Decimal(1), 1 << PROBABILITY_BITS
        exact = [full / (one + (decimal.Decimal(i) * _STEP / LOGIT_ONE).exp()) for i in range(_STEPS + 2)]
        return np.array([int(p.to_integral_value(decimal.ROUND_HALF_EVEN)) for p in exact], np.int32)


@kernel
def probability(rarity: NDArray[np.int32], logit: Int) -> Int:
    """P(1) in 2^-24 of a logit in 1/1024 nat; never 0 and never certain: beyond ±16 nats it stays what it is there."""
    distance = min(abs(logit), _STEP * _STEPS)
    cell, part = distance >> 5, distance & (_STEP - 1)
    rare = (np.int64(rarity[cell]) * (_STEP - part) + np.int64(rarity[cell + 1]) * part + _STEP // 2) >> 5
    return (1 << PROBABILITY_BITS) - rare if logit > 0 else rare


@kernel
def start_encoding(c: Coder) -> None:
    c.state[LOW] = 0
    c.state[RANGE] = _TOP
    c.state[AT] = 0


@kernel
def start_decoding(c: Coder) -> None:
    start_encoding(c)
    for _ in range(REGISTER_BYTES):
        _take(c)


@kernel
def _take(c: Coder) -> None:
    """Read one more byte; zeros follow the last one."""
    at = c.state[AT]
    byte = np.int64(c.data[at]) if at < c.data.size else 0
    c.state[LOW] = (c.state[LOW] << 8) | byte
    c.state[AT] = at + 1


@kernel
def _carry(c: Coder) -> None:
    """Add one to the number written so far."""
    at = c.state[AT] - 1
    while at >= 0:
        byte: Int = np.int64(c.data[at]) if at < c.data.size else 255
        if at < c.data.size:
            c.data[at] = (byte + 1) & 255
        if byte != 255:
            return
        at -= 1


@kernel
def _give(c: Coder) -> None:
    """Write the first byte of LOW."""
    at = c.state[AT]
    if at < c.data.size:
        c.data[at] = c.state[LOW] >> 32
    c.state[LOW] = (c.state[LOW] << 8) & (_TOP - 1)
    c.state[AT] = at + 1


@kernel
def encode_bit(c: Coder, p: Int, bit: Int) -> None:
    """Narrow the interval to the part of the bit. p: P(1) in 2^-24, at least 1 and at most 2^24 - 1."""
    bound = ((c.state[RANGE] >> 2) * p) >> 22
    if bit:
        c.state[RANGE] = bound
    else:
        c.state[LOW] += bound
        c.state[RANGE] -= bound
        if c.state[LOW] >= _TOP:
            c.state[LOW] -= _TOP
            _carry(c)
    while c.state[RANGE] < _BOTTOM:
        _give(c)
        c.state[RANGE] <<= 8


@kernel
def decode_bit(c: Coder, p: Int) -> Int:
    """The bit in whose part the number lies; p as it was encoded with."""
    bound = ((c.state[RANGE] >> 2) * p) >> 22
    bit: Int = 0
    if c.state[LOW] < bound:
        c.state[RANGE] = bound
        bit = 1
    else:
        c.state[LOW] -= bound
        c.state[RANGE] -= bound
    while c.state[RANGE] < _BOTTOM:
        _take(c)
        c.state[RANGE] <<= 8
    return bit


@kernel
def finish_encoding(c: Coder) -> Int:
    """Write the fewest bytes that name a number in the interval; how many bytes there are in all.

    More than `data` has room for means that it was too small, and what it holds is worth nothing.
    """
    for size in range(REGISTER_BYTES + 1):
        unit: Int = 1 << (40 - 8 * size)
        number = ((c.state[LOW] + unit - 1) // unit) * unit
        if number < c.state[LOW] + c.state[RANGE]:
            if number >= _TOP:
                _carry(c)
                number -= _TOP
            c.state[LOW] = number
            for _ in range(size):
                _give(c)
            break
    if c.state[AT] <= c.data.size:
        while c.state[AT] > 0 and c.data[c.state[AT] - 1] == 0:
            c.state[AT] -= 1
    return c.state[AT]
