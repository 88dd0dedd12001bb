"""Bytes <-> bits, exactly.

    parity.py    the ninth bit: computed, enforced
    bits.py      bytes, text and digit strings to bits and back, with every damaged group reported
    records.py   where the records of data lie: lines, fixed lengths, captured packets

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
from bitlm_core.codec.records import MAX_RECORDS, RECORDS_PATTERN, check_records, record_spans

__all__ = [
    "MAX_RECORDS",
    "RECORDS_PATTERN",
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
    "check_records",
    "enforce_parity",
    "parity_bits",
    "record_spans",
    "text_to_bits",
]
