"""Bytes <-> bits, exactly.

    parity.py    the ninth bit: computed, enforced
    bits.py      bytes, text and digit strings to bits and back, with every damaged group reported
    packing.py   eight bits a byte, with their number kept
    runlength.py runs of equal bits, or the bits packed: never much larger than they are
    records.py   where the records of data lie: lines, fixed lengths, captured packets

Nothing here guesses: what goes in comes out, or the difference is named.
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
from bitlm_core.codec.packing import PackedBits, pack_bits, unpack_bits
from bitlm_core.codec.parity import Bits, Parity, as_bits, enforce_parity, parity_bits
from bitlm_core.codec.records import MAX_RECORDS, RECORDS_PATTERN, check_records, record_spans
from bitlm_core.codec.runlength import (
    compress_bits,
    compress_packed,
    compress_rows,
    compression_ratio,
    decompress_bits,
    decompress_packed,
    decompress_rows,
)

__all__ = [
    "MAX_RECORDS",
    "RECORDS_PATTERN",
    "BitOrder",
    "Bits",
    "DecodedBytes",
    "DecodedText",
    "ErrorMode",
    "PackedBits",
    "Parity",
    "as_bits",
    "bits_from_digits",
    "bits_to_bytes",
    "bits_to_text",
    "bytes_to_bits",
    "check_records",
    "compress_bits",
    "compress_packed",
    "compress_rows",
    "compression_ratio",
    "decompress_bits",
    "decompress_packed",
    "decompress_rows",
    "enforce_parity",
    "pack_bits",
    "parity_bits",
    "record_spans",
    "text_to_bits",
    "unpack_bits",
]
