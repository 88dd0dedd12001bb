"""Run-length code of bits, lossless for every input, and never much larger than the bits packed eight to a byte.

    nothing       nothing: 0 bits are a stream of 0 bytes
    flags         1 byte: bit 0: runs follow, else packed bits; bit 1: a checksum is there; bits 2-4: bytes of the count, less 1
    count         1 to 8 bytes, little endian, as few as hold it: how many bits there are
    checksum      4 bytes, little endian: CRC-32 of all the rest of the stream (left out with check=False)
    runs          a byte each: its value (bit 7) and its length less 1 (bits 0-6); a longer run is several, full but the last
    or packed     ⌈n / 8⌉ bytes, most significant bit first: where runs would not be fewer bytes than that

So n bits never take more than the ⌈n / 8⌉ bytes that they are, 1 byte of flags, and a header of count and checksum: 5 bytes up
to 255 bits, 6 up to 65,535, 12 at most. ratio = compressed bits / raw bits.

Change i says whether bit i differs from the one before; all work is done on packed bits, where changes are d = b ⊕ (b ≫ 1),
and the bits are the running ⊕ of the changes.

In: `uint8[n]` of 0 and 1, or `PackedBits`. Out: `uint8[bytes]`. Every change of a stream with a checksum is found, but for one
in 2³² that a random change slips through; without one, only what contradicts itself. The offset in an error is where the stream
first cannot be right, or that of the checksum where only the checksum tells. Text has no long runs: it is packed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitlm_core.codec.packing import PackedBits, pack_bits, unpack_bits
from bitlm_core.codec.parity import Bits, as_bits
from bitlm_core.errors import CodecError, ResourceLimitError, RunLengthError

Stream = NDArray[np.uint8]
StreamLike = bytes | bytearray | memoryview | NDArray[np.uint8]

LONGEST_RUN = 128
MAX_BITS = 1 << 31
"""So many bits are decoded unless the caller allows more: unpacked they are as many bytes."""

_RUNS, _CHECKED = 1, 2
_CHECKSUM = 4
_CHUNK = 1 << 16
"""Bytes that are gone through at once: what is made of so many stays in the cache."""


def compress_bits(bits: ArrayLike, *, check: bool = True) -> Stream:
    """`uint8[n]` of 0 and 1 → the stream. Raises `CodecError` as `as_bits`."""
    return compress_packed(pack_bits(bits), check=check)


def decompress_bits(stream: StreamLike, *, max_bits: int = MAX_BITS) -> Bits:
    """The bits of a stream, `uint8[n]`.

    Raises `RunLengthError` (`offset`) for a damaged stream, and `ResourceLimitError` (`estimate`, `limit`, in bits) for more
    than `max_bits`, both before memory for the bits is taken.
    """
    return unpack_bits(decompress_packed(stream, max_bits=max_bits))


def compress_packed(packed: PackedBits, *, check: bool = True) -> Stream:
    """As `compress_bits`, of bits that are packed already."""
    changes = _changes(packed.data, packed.num_bits)
    return _stream(packed, changes, int(np.bitwise_count(changes).sum(dtype=np.int64)), check)


def decompress_packed(stream: StreamLike, *, max_bits: int = MAX_BITS) -> PackedBits:
    """As `decompress_bits`, left packed."""
    found = _as_stream(stream)
    if not len(found):
        return PackedBits(np.zeros(0, np.uint8), 0)
    front = _front(found)
    if front.num_bits > max_bits:
        raise ResourceLimitError(
            f"the run-length stream holds {front.num_bits:,} bits, more than the {max_bits:,} that are allowed here: "
            "allow more, or send it in parts",
            estimate=front.num_bits,
            limit=max_bits,
        )
    body = found[front.size :]
    if front.runs:
        _check_runs(body, front)
    else:
        _check_packed(body, front)
    if front.checksum is not None:
        start = front.size - _CHECKSUM
        if front.checksum != _checksum(found[:start].tobytes(), body):
            raise _damaged(start, "its checksum is that of other bytes")
    return PackedBits(_from_runs(body, front.num_bits) if front.runs else body.copy(), front.num_bits)


def compress_rows(bits_BT: ArrayLike, *, check: bool = True) -> list[Stream]:
    """The stream of each row. Raises `CodecError` (`shape`) for other than two dimensions, and as `as_bits`."""
    given = np.asarray(bits_BT)
    if given.ndim != 2:
        raise CodecError(f"rows of bits must be [B, T], got shape {given.shape}; reshape them", shape=given.shape)
    packed_BN = np.packbits(as_bits(given.reshape(-1)).reshape(given.shape), axis=1)
    changes_BN = _changes(packed_BN, given.shape[1])
    counts = np.bitwise_count(changes_BN).sum(axis=1, dtype=np.int64).tolist()
    rows = zip(packed_BN, changes_BN, counts, strict=True)
    return [_stream(PackedBits(data, given.shape[1]), changes, count, check) for data, changes, count in rows]


def decompress_rows(streams: Sequence[StreamLike], *, max_bits: int = MAX_BITS) -> Bits:
    """The rows again, `uint8[B, T]`; `max_bits`: of all together.

    Raises as `decompress_bits`, with `row` as well, and `CodecError` (`row`, `length`) for rows that are not of one length.
    """
    rows: list[Bits] = []
    left = max_bits
    for row, stream in enumerate(streams):
        try:
            rows.append(decompress_bits(stream, max_bits=left))
        except RunLengthError as error:
            raise RunLengthError(f"row {row}: {error.message}", row=row, **error.facts) from None
        if len(rows[row]) != len(rows[0]):
            raise CodecError(
                f"row {row} has {len(rows[row]):,} bits, and row 0 has {len(rows[0]):,}; decompress rows of "
                "several lengths one by one",
                row=row,
                length=len(rows[row]),
            )
        left -= len(rows[row])
    return np.stack(rows) if rows else np.zeros((0, 0), np.uint8)


def compression_ratio(num_bytes: int, num_bits: int) -> float:
    """Compressed bits / raw bits, for a stream of `num_bytes` that stands for `num_bits`; NaN where there are none."""
    return 8 * num_bytes / num_bits if num_bits else float("nan")


@dataclass(frozen=True)
class _Front:
    """What stands before the body; `size` in bytes."""

    runs: bool
    num_bits: int
    checksum: int | None
    size: int


def _changes(data: NDArray[np.uint8], num_bits: int) -> NDArray[np.uint8]:
    """`[..., N]` packed bits → `[..., N]`, packed: does a bit differ from the one before it? Of the first: is it 1?"""
    changes = data >> np.uint8(1)
    changes[..., 1:] |= data[..., :-1] << 7
    changes ^= data
    if num_bits % 8:
        changes[..., -1] &= 0xFF << (8 - num_bits % 8) & 0xFF
    return changes


def _stream(packed: PackedBits, changes: NDArray[np.uint8], num_changes: int, check: bool) -> Stream:
    if packed.num_bits == 0:
        return np.zeros(0, np.uint8)
    # A change of the first bit ends no run.
    num_runs = num_changes + 1 - int(changes[0] >> 7)
    runs = _runs(changes, packed.num_bits, len(packed.data)) if num_runs < len(packed.data) else None
    body = packed.data if runs is None else runs
    size = (packed.num_bits.bit_length() + 7) // 8
    flags = (runs is not None) * _RUNS | check * _CHECKED | (size - 1) << 2
    front = bytes([flags]) + packed.num_bits.to_bytes(size, "little")
    if check:
        front += _checksum(front, body).to_bytes(_CHECKSUM, "little")
    return np.concatenate([np.frombuffer(front, np.uint8), body])


def _runs(changes: NDArray[np.uint8], num_bits: int, limit: int) -> NDArray[np.uint8] | None:
    """Value and length of each run; None where they are no fewer than `limit` bytes."""
    value = int(changes[0] >> 7)
    parts, size, start, skipped = [], 0, 0, value
    for at in range(0, len(changes), _CHUNK):
        places = np.flatnonzero(np.unpackbits(changes[at : at + _CHUNK]).view(np.bool_))[skipped:] + 8 * at
        skipped = 0  # but for the first bit, each change ends a run
        ends = np.append(places, num_bits) if at + _CHUNK >= len(changes) else places
        if len(ends):
            parts.append(_pieces(np.diff(ends, prepend=start), value))
            value, start = value ^ len(ends) & 1, int(ends[-1])
            size += len(parts[-1])
        if size >= limit:
            return None
    return np.concatenate(parts)


def _pieces(lengths: NDArray[np.int64], value: int) -> NDArray[np.uint8]:
    """Runs of these lengths, the first of this value, in pieces that are short enough."""
    values = np.full(len(lengths), 128 * value, np.uint8)
    values[1::2] ^= 128
    rest = values | ((lengths - 1) & (LONGEST_RUN - 1)).astype(np.uint8)
    if lengths.max() <= LONGEST_RUN:
        return rest
    pieces = (lengths + LONGEST_RUN - 1) // LONGEST_RUN
    runs: NDArray[np.uint8] = np.repeat(values | np.uint8(LONGEST_RUN - 1), pieces)
    runs[np.cumsum(pieces) - 1] = rest
    return runs


def _from_runs(runs: NDArray[np.uint8], num_bits: int) -> NDArray[np.uint8]:
    """The packed bits, as the running ⊕ of their changes: first within each byte, then from byte to byte."""
    bits = np.zeros(-(-num_bits // 8), np.uint8)
    start, value = 0, 0
    for at in range(0, len(runs), _CHUNK):
        chunk = runs[at : at + _CHUNK]
        ends = start + np.cumsum(_lengths(chunk))
        values = chunk >> 7
        places = np.concatenate([[start], ends[:-1]])[np.diff(values, prepend=np.uint8(value)) != 0]
        if len(places):
            in_byte = places >> 3
            group = np.flatnonzero(np.diff(in_byte, prepend=-1))
            bits[in_byte[group]] |= np.bitwise_or.reduceat((128 >> (places & 7)).astype(np.uint8), group)
        start, value = int(ends[-1]), int(values[-1])
    for shift in (1, 2, 4):
        bits ^= bits >> shift
    carried = np.cumsum(bits & 1, dtype=np.uint8)[:-1] & 1
    bits[1:] ^= np.uint8(0) - carried
    if num_bits % 8:
        bits[-1] &= 0xFF << (8 - num_bits % 8) & 0xFF
    return bits


def _lengths(runs: NDArray[np.uint8]) -> NDArray[np.int64]:
    return (runs & np.uint8(LONGEST_RUN - 1)).astype(np.int64) + 1


def _checksum(front: bytes, body: NDArray[np.uint8]) -> int:
    return zlib.crc32(np.ascontiguousarray(body).data, zlib.crc32(front))


def _as_stream(stream: StreamLike) -> Stream:
    found = stream if isinstance(stream, np.ndarray) else np.frombuffer(stream, np.uint8)
    if found.dtype != np.uint8 or found.ndim != 1:
        raise CodecError(
            f"a run-length stream is uint8[N] or bytes, got {found.dtype}{list(found.shape)}; pass what compress_bits gave",
            dtype=str(found.dtype),
            shape=found.shape,
        )
    return found


def _front(stream: Stream) -> _Front:
    """Flags, count and checksum, believed nothing."""
    flags = int(stream[0])
    width = (flags >> 2) + 1
    if width > 8:
        raise _damaged(0, f"it begins with 0x{flags:02X}, and flags are below 0x20")
    size = 1 + width + (_CHECKSUM if flags & _CHECKED else 0)
    if len(stream) <= size:
        raise _damaged(len(stream), f"its header takes {size} bytes, and something must follow")
    num_bits = int.from_bytes(stream[1 : 1 + width].tobytes(), "little")
    if num_bits == 0 or num_bits.bit_length() <= 8 * (width - 1):
        raise _damaged(width, f"{num_bits} bits are counted in {width} bytes: no stream is written so")
    checksum = int.from_bytes(stream[1 + width : size].tobytes(), "little") if flags & _CHECKED else None
    return _Front(bool(flags & _RUNS), num_bits, checksum, size)


def _check_packed(body: NDArray[np.uint8], front: _Front) -> None:
    size, spare = -(-front.num_bits // 8), -front.num_bits % 8
    if len(body) != size:
        where = front.size + min(size, len(body))
        raise _damaged(where, f"{front.num_bits:,} bits are {size:,} bytes, and {len(body):,} follow")
    if spare and body[-1] & ((1 << spare) - 1):
        raise _damaged(front.size + size - 1, "bits are set behind the last")


def _check_runs(runs: NDArray[np.uint8], front: _Front) -> None:
    """Runs add up to what is counted, and none could have been part of the one before."""
    loose = ((runs[1:] ^ runs[:-1]) < LONGEST_RUN) & ((runs[:-1] & (LONGEST_RUN - 1)) < LONGEST_RUN - 1)
    if len(runs) + int((runs & (LONGEST_RUN - 1)).sum(dtype=np.int64)) == front.num_bits and not loose.any():
        return
    ends = np.cumsum(_lengths(runs))
    first_loose = 1 + int(np.argmax(loose)) if loose.any() else len(runs)
    first_beyond = int(np.searchsorted(ends, min(front.num_bits, int(ends[-1])), side="right"))
    if first_loose < len(runs) and first_loose <= first_beyond:
        raise _damaged(front.size + first_loose, "a run goes on that was not full")
    if first_beyond < len(runs):
        raise _damaged(front.size + first_beyond, f"its runs go beyond the {front.num_bits:,} bits that it counts")
    if ends[-1] < front.num_bits:
        raise _damaged(front.size + len(runs), f"it ends after {ends[-1]:,} of {front.num_bits:,} bits")


def _damaged(offset: int, what: str) -> RunLengthError:
    return RunLengthError(
        f"the run-length stream is damaged at byte {offset:,}: {what}. Nothing was decoded: use another copy of it",
        offset=offset,
    )
