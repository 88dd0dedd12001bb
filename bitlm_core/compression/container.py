"""The container of compressed data: a header that is believed nothing, and sections of coded bytes.

    93 42 4C 4D                    magic
    version                        1 byte
    kind                           1 byte: 0 stored, 1 self-contained, 2 by a model, 3 by a model, record by record
    size of the rest of the header, then that: see `_written`
    CRC-32 of all before           4 bytes, little endian, as all numbers of fixed size
    sections                       as long as the header says, to the last byte of the container

Numbers of variable size are LEB128 in their shortest form. A damaged header is known by its CRC; the content has one too,
which is checked before any of it is given out.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.records import RECORDS_PATTERN
from bitlm_core.errors import ContainerError, ResourceLimitError

MAGIC = b"\x93BLM"
VERSION = 1
MAX_BYTES = 1 << 31
"""Of content: all of it is held in memory."""
MAX_LANES = 64
WHOLE = "whole"
"""All of the data as one record."""
BYTES_PER_CODED_BYTE = 1 << 20
"""No code is believed to hold more than so many bytes per byte and one more; an encoder that does better adds zeros."""

_KINDS = ("stored", "self-contained", "model", "records")
_CRC = struct.Struct("<I")
_MAX_PROFILE = 4096
_MAX_HEADER = 8192
FINGERPRINT_BYTES, DIGEST_BYTES, PROBE_BYTES = 4, 16, 8


@dataclass(frozen=True)
class FreshMixer:
    """A context mixer that has learned nothing: all that is needed to make the same one.

    settings: fields of `MixingConfig` beside memory and history. fingerprint: of the arithmetic, see `fingerprint`.
    """

    memory_mib: int
    history_bytes: int
    settings: dict[str, Any]
    fingerprint: bytes


@dataclass(frozen=True)
class TrainedModel:
    """A model by the digest of its state; `probe`: of what its network predicts here, empty where there is none."""

    digest: bytes
    probe: bytes


@dataclass(frozen=True)
class Header:
    """What a container says of itself; `sections`: bytes of each.

    They are the content (stored), one code per lane, or an index and the codes of all records.
    """

    kind: str
    num_bytes: int
    crc: int
    records: str
    predictor: FreshMixer | TrainedModel | None
    sections: tuple[int, ...]

    @property
    def lanes(self) -> int:
        """How many codes are decoded side by side."""
        return len(self.sections) if self.kind in ("self-contained", "model") else 1


@dataclass(frozen=True)
class DecoderLimits:
    """What a decoder may allocate, whatever a header says."""

    num_bytes: int = MAX_BYTES
    memory_mib: int = 2048

    def check(self, header: Header, lane_mib: int = 0) -> None:
        """Raise ResourceLimitError for a container that wants more. lane_mib: what a lane takes of the model given for it."""
        if header.num_bytes > self.num_bytes:
            raise ResourceLimitError(
                f"the container holds {header.num_bytes:,} bytes, more than the {self.num_bytes:,} that are allowed here: "
                "decompress it where more are",
                estimate=header.num_bytes,
                limit=self.num_bytes,
            )
        lane_mib = header.predictor.memory_mib if isinstance(header.predictor, FreshMixer) else lane_mib
        needed = lane_mib * header.lanes
        if needed > self.memory_mib:
            raise ResourceLimitError(
                f"decompression takes {needed:,} MiB for its tables, more than the {self.memory_mib:,} that are allowed here: "
                "decompress it where more are, or compress with fewer lanes or less memory",
                estimate=needed,
                limit=self.memory_mib,
            )


def crc_of(data: NDArray[np.uint8]) -> int:
    """CRC-32 of bytes in one piece."""
    return zlib.crc32(data.data)


def damaged(what: str) -> ContainerError:
    """The error of a container that is not what was written."""
    return ContainerError(
        f"the compressed data is damaged ({what}): nothing was decoded. Use another copy of it", reason="damaged"
    )


def pack(header: Header, sections: Sequence[bytes]) -> bytes:
    """The whole container."""
    rest = _written(header)
    front = MAGIC + bytes([VERSION, _KINDS.index(header.kind)]) + _varint(len(rest)) + rest
    return b"".join([front, _CRC.pack(zlib.crc32(front)), *sections])


def parse(container: memoryview) -> tuple[Header, list[memoryview]]:
    """Header and sections, every length checked against what is there. Raises ContainerError."""
    reader = _Reader(container)
    if bytes(container[:4]) != MAGIC:
        raise ContainerError(
            f"the data begins with {bytes(container[:4]).hex() or 'nothing'}, not with {MAGIC.hex()}: it was not made by "
            "bitlm compress. Give a file that was",
            reason="damaged",
        )
    reader.take(4)
    version, kind = reader.take(2)
    if version != VERSION:
        raise ContainerError(
            f"the compressed data has format version {version}, this program reads {VERSION}: use another version of bitlm",
            reason="version",
        )
    size = reader.number(_MAX_HEADER)
    rest = reader.take(size)
    front = container[: reader.at]
    if _CRC.unpack(reader.take(4))[0] != zlib.crc32(front):
        raise damaged("its header is not as it was written")
    if kind >= len(_KINDS):
        raise damaged(f"there is no kind {kind}")
    header = _read(_KINDS[kind], _Reader(rest))
    if sum(header.sections) != len(container) - reader.at:
        raise damaged(f"{len(container) - reader.at:,} bytes follow its header, which says {sum(header.sections):,}")
    return header, [reader.take(length) for length in header.sections]


def _written(header: Header) -> bytes:
    """Length and CRC of the content; the form of its records; what predicted; the sections."""
    parts = [
        _varint(header.num_bytes),
        _CRC.pack(header.crc),
        _sized(b"" if header.records == WHOLE else header.records.encode()),
    ]
    if isinstance(header.predictor, FreshMixer):
        settings = json.dumps(header.predictor.settings, sort_keys=True).encode() if header.predictor.settings else b""
        parts += [_varint(header.predictor.memory_mib), _varint(header.predictor.history_bytes)]
        parts += [_sized(settings), header.predictor.fingerprint]
    elif header.predictor is not None:
        parts += [header.predictor.digest, _sized(header.predictor.probe)]
    sections = header.sections if header.predictor is not None else ()  # of what is stored, the size was told
    return b"".join([*parts, _varint(len(sections)), *(_varint(size) for size in sections)])


def _read(kind: str, reader: _Reader) -> Header:
    num_bytes = reader.number(1 << 62)
    (crc,) = _CRC.unpack(reader.take(4))
    records = bytes(reader.sized(32)).decode("latin-1") or WHOLE
    if not re.fullmatch(RECORDS_PATTERN, records):
        raise damaged("it names no form of records")
    predictor: FreshMixer | TrainedModel | None = None
    if kind == "self-contained":
        memory_mib, history_bytes = reader.number(1 << 20), reader.number(1 << 40)
        settings = _settings(bytes(reader.sized(_MAX_PROFILE)))
        predictor = FreshMixer(memory_mib, history_bytes, settings, bytes(reader.take(FINGERPRINT_BYTES)))
    elif kind != "stored":
        predictor = TrainedModel(bytes(reader.take(DIGEST_BYTES)), bytes(reader.sized(PROBE_BYTES)))
    sections = tuple(reader.number(1 << 62) for _ in range(reader.number(MAX_LANES)))
    if kind == "stored" and not sections:
        sections = (num_bytes,)
    if reader.left:
        raise damaged(f"its header has {reader.left} bytes too many")
    _check_sections(kind, num_bytes, sections)
    return Header(kind, num_bytes, crc, records, predictor, sections)


def _check_sections(kind: str, num_bytes: int, sections: tuple[int, ...]) -> None:
    right = {"stored": sections == (num_bytes,), "records": len(sections) == 2}.get(kind, len(sections) > 0)
    if not right:
        raise damaged(f"{len(sections)} sections do not fit its kind")
    if kind != "stored" and num_bytes > BYTES_PER_CODED_BYTE * (sum(sections) + len(sections)):
        raise damaged(f"it says that {sum(sections):,} bytes hold {num_bytes:,}")


def _settings(text: bytes) -> dict[str, Any]:
    try:
        settings = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise damaged("its settings cannot be read")
    return settings


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


class _Reader:
    """Takes parts from the front; what is not there is damage."""

    def __init__(self, data: memoryview) -> None:
        self._data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def take(self, size: int) -> memoryview:
        if size > self.left:
            raise damaged(f"it ends after {len(self._data):,} bytes, {size - self.left:,} too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def number(self, limit: int) -> int:
        value = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if value > limit or (shift and not byte):
                    break
                return value
        raise damaged("a number in its header is out of range")

    def sized(self, limit: int) -> memoryview:
        return self.take(self.number(limit))
