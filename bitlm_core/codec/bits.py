"""Bytes and text as bits, and back, exactly.

    byte → b_0 … b_7, most significant first, then one parity bit        9 bits a byte (8 with parity="none")
    text → UTF-8 → bytes → bits

`bits_to_bytes(bytes_to_bits(data)).data == data` for all data and all options, as long as both calls name
the same `parity` and `bit_order`: neither is recorded in the bits.

What a decoder does with a damaged stream is the caller's choice, `errors`:

    strict     an incomplete last group or a wrong parity bit is an error
    replace    a bad group decodes to "?" (0x3F), an incomplete last group is dropped; both are reported
    report     a bad group keeps its eight data bits, an incomplete last group is dropped; both are reported

Values other than 0 and 1 are an error in every mode. Damage that parity cannot see (an even number of
flipped bits in a group) is not found here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from bitlm_core.codec.parity import DATA_BITS, GROUP_BITS, Bits, Parity, as_bits, group_parity
from bitlm_core.errors import CodecError, ConfigError, ParityError

BitOrder = Literal["msb", "lsb"]
ErrorMode = Literal["strict", "replace", "report"]

REPLACEMENT = b"?"
_LISTED = 8  # groups named in an error text; the attribute holds all of them
_NUMPY_ORDER: dict[str, Literal["big", "little"]] = {"msb": "big", "lsb": "little"}


@dataclass(frozen=True)
class DecodedBytes:
    """`data`, one byte per whole group; `bad_groups`, indices of wrong parity; `dropped_bits`, the incomplete tail."""

    data: bytes
    bad_groups: tuple[int, ...] = ()
    dropped_bits: int = 0


@dataclass(frozen=True)
class DecodedText:
    """As `DecodedBytes`; `bad_characters` counts the U+FFFD in `text` that stand for bytes that are not UTF-8."""

    text: str
    bad_groups: tuple[int, ...] = ()
    dropped_bits: int = 0
    bad_characters: int = 0


def bytes_to_bits(data: bytes, *, parity: Parity = "even", bit_order: BitOrder = "msb") -> Bits:
    """N bytes → `uint8[9·N]` (`uint8[8·N]` with parity="none"): eight data bits, then the parity bit.

    Raises `ConfigError` (`value`, `allowed`) for an unknown option.
    """
    _check_options(parity, bit_order)
    octets = np.frombuffer(data, dtype=np.uint8)
    data_bits = np.unpackbits(octets, bitorder=_NUMPY_ORDER[bit_order])
    if parity == "none":
        return data_bits
    groups = np.empty((octets.size, GROUP_BITS), dtype=np.uint8)
    groups[:, :DATA_BITS] = data_bits.reshape(-1, DATA_BITS)
    groups[:, DATA_BITS] = group_parity(octets, parity)
    return groups.reshape(-1)


def bits_to_bytes(
    bits: ArrayLike, *, parity: Parity = "even", bit_order: BitOrder = "msb", errors: ErrorMode = "strict"
) -> DecodedBytes:
    """`uint8[n]` → n // 9 bytes (n // 8 with parity="none"); `errors` as the head of this file says.

    Raises `CodecError` (`index`, `value`) for a value other than 0 and 1 and, when strict, `CodecError`
    (`length`, `group_bits`) for an incomplete tail, then `ParityError` (`groups`) for wrong parity.
    """
    _check_options(parity, bit_order, errors)
    checked = as_bits(bits)
    width = DATA_BITS if parity == "none" else GROUP_BITS
    tail = checked.size % width
    if tail and errors == "strict":
        raise CodecError(
            f"{checked.size} bits end in an incomplete group of {tail}; pass a multiple of {width} bits, "
            "or errors='report' to drop the tail",
            length=checked.size,
            group_bits=width,
        )
    groups = checked[: checked.size - tail].reshape(-1, width)
    octets = np.packbits(groups[:, :DATA_BITS], bitorder=_NUMPY_ORDER[bit_order])
    # Without a ninth bit no group can be bad.
    bad = np.flatnonzero([] if parity == "none" else groups[:, DATA_BITS] != group_parity(octets, parity))
    if bad.size and errors == "strict":
        raise _parity_error(tuple(bad.tolist()), len(groups))
    if errors == "replace":
        octets[bad] = ord(REPLACEMENT)
    return DecodedBytes(octets.tobytes(), tuple(bad.tolist()), tail)


def text_to_bits(text: str, *, parity: Parity = "even", bit_order: BitOrder = "msb") -> Bits:
    """The bits of `text` in UTF-8. Raises `CodecError` (`index`) at a lone surrogate, which UTF-8 cannot hold."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CodecError(
            f"character {error.start} is a lone surrogate, U+{ord(text[error.start]):04X}, which UTF-8 cannot hold; "
            "remove it, or pass bytes",
            index=error.start,
        ) from error
    return bytes_to_bits(data, parity=parity, bit_order=bit_order)


def bits_to_text(
    bits: ArrayLike, *, parity: Parity = "even", bit_order: BitOrder = "msb", errors: ErrorMode = "strict"
) -> DecodedText:
    """`bits_to_bytes`, then UTF-8. Bytes that are not UTF-8 become U+FFFD and are counted, unless strict.

    Raises what `bits_to_bytes` raises and, when strict, `CodecError` (`offset`, in bytes) for invalid UTF-8.
    """
    decoded = bits_to_bytes(bits, parity=parity, bit_order=bit_order, errors=errors)
    try:
        text = decoded.data.decode("utf-8", "strict" if errors == "strict" else "replace")
    except UnicodeDecodeError as error:
        raise CodecError(
            f"byte {error.start} (0x{decoded.data[error.start]:02X}) is not UTF-8: {error.reason}; "
            "use errors='replace', or decode to bytes",
            offset=error.start,
        ) from error
    # A U+FFFD that was in the data is the bytes EF BF BD wherever they stand; every other one was put in.
    bad_characters = text.count("\ufffd") - decoded.data.count("\ufffd".encode())
    return DecodedText(text, decoded.bad_groups, decoded.dropped_bits, bad_characters)


def bits_from_digits(digits: str) -> Bits:
    """The digits 0101 1100_1 → `uint8[9]`; white space and underscores are skipped.

    Raises `CodecError` (`index`, `character`) at the first other character.
    """
    foreign = re.search(r"[^01\s_]", digits)
    if foreign:
        raise CodecError(
            f"character {foreign.start()} is {foreign[0]!r}; write bits as 0 and 1, with spaces or underscores between",
            index=foreign.start(),
            character=foreign[0],
        )
    plain = re.sub(r"[\s_]+", "", digits).encode("ascii")
    return np.frombuffer(plain, dtype=np.uint8) - np.uint8(ord("0"))


def _parity_error(bad: tuple[int, ...], total: int) -> ParityError:
    listed = ", ".join(map(str, bad[:_LISTED])) + (", …" if len(bad) > _LISTED else "")
    return ParityError(
        f"{len(bad)} of {total} groups have a wrong parity bit (groups {listed}); "
        "use errors='report' to keep their data bits, or enforce_parity to recompute the ninth bit",
        groups=bad,
    )


def _check_options(parity: str, bit_order: str, errors: str = "strict") -> None:
    named = (("parity", parity, Parity), ("bit_order", bit_order, BitOrder), ("errors", errors, ErrorMode))
    for name, value, literal in named:
        allowed = get_args(literal)
        if value not in allowed:
            raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(allowed)}", value=value, allowed=allowed)
