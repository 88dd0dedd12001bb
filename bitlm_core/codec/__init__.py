"""Bytes <-> bits, exactly.

    parity.py    the ninth bit: computed, enforced
    bits.py      bytes, text and digit strings to bits and back, with every damaged group reported

Nothing here compresses or guesses: what goes in comes out, or the difference is named.
"""

from bitlm_core.codec.bits import (
    BitOrder,
    DecodedBytes,
    DecodedText,
    ErrorMode,
    bits_from_digits,
    bits_to_bytes,
    bits_to_text,
    bytes_to_bits,
    text_to_bits,
)
from bitlm_core.codec.parity import Bits, Parity, as_bits, enforce_parity, parity_bits

__all__ = [
    "BitOrder",
    "Bits",
    "DecodedBytes",
    "DecodedText",
    "ErrorMode",
    "Parity",
    "as_bits",
    "bits_from_digits",
    "bits_to_bytes",
    "bits_to_text",
    "bytes_to_bits",
    "enforce_parity",
    "parity_bits",
    "text_to_bits",
]
