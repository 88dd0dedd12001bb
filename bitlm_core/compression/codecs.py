"""Codecs that know nothing of models, under one interface: run lengths, zlib, lzma, zstd.

    rle     blocks of 1 MiB: length of the stream in 4 bytes, little endian, 2³¹ more for the last; then the stream of
            `codec.runlength`
    zlib    as in RFC 1950, level 9
    lzma    the .xz format, its usual preset
    zstd    level 19, with a checksum, through the library `zstandard`; where that cannot be loaded, the others work

In: bytes. Out: bytes. Each checks what it decodes by a checksum. Decoding stops within 32 MiB of the bytes that are allowed,
whatever is declared, as it is fed a little at a time. That is also how closely these libraries tell where data is damaged.
This imports neither numba nor torch.
"""

from __future__ import annotations

import importlib
import lzma
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.packing import PackedBits
from bitlm_core.codec.runlength import compress_packed, decompress_packed
from bitlm_core.errors import CodecError, ConfigError, ResourceLimitError, RunLengthError

GeneralName = Literal["rle", "zlib", "lzma", "zstd"]
"""Codecs that know no model."""
CodecName = Literal["model", "rle", "zlib", "lzma", "zstd"]
"""`model`: bitlm's own, see `compression.coded`."""

ZSTD_LEVEL = 19
BLOCK = 1 << 20
"""Bytes that are coded at once: between two blocks, whoever wants to stop may."""
_FED = 1 << 10
"""Bytes that a decoder gets at once. No format makes more than 32 MiB of so many."""
_FED_PER_STEP = 64
_MEMORY = 1 << 28  # that a decoder of lzma or zstd may take
_LENGTH, _LAST = 4, 1 << 31

try:  # it is built for each machine apart, and all else works without
    _zstandard: Any = importlib.import_module("zstandard")
    _absent = ""
except ImportError as error:
    _zstandard, _absent = None, str(error)


class Codec(Protocol):
    """What codes bytes without loss."""

    @property
    def name(self) -> str:
        """What callers call it."""

    def encode_steps(self, data: NDArray[np.uint8]) -> Generator[float, None, bytes]:
        """Code, yielding the share done."""

    def decode_steps(self, coded: bytes, max_bytes: int) -> Generator[float, None, bytes]:
        """What was coded, yielding the share done.

        Raises `CodecError` (`offset`) for what is damaged, `ResourceLimitError` for more than `max_bytes`.
        """


def general_codec(name: str) -> Codec:
    """The codec of that name. Raises `ConfigError` for an unknown one, and for one whose library cannot be loaded."""
    if name not in get_args(GeneralName):
        raise ConfigError(f"there is no codec {name!r}: choose one of {', '.join(get_args(GeneralName))}", value=name)
    if name == "rle":
        return RunLengths()
    if name == "zlib":
        return Library(name, lambda size: zlib.compressobj(9), zlib.decompressobj, zlib.error)
    if name == "lzma":
        return Library(name, lambda size: lzma.LZMACompressor(), _lzma_decoder, lzma.LZMAError)
    if _zstandard is None:
        raise ConfigError(
            f"codec zstd needs the package zstandard, which cannot be loaded ({_absent}): install it, or use zlib or lzma",
            value=name,
        )
    return Library(name, _zstd_coder, _zstd_decoder, _zstandard.ZstdError)


@dataclass(frozen=True)
class RunLengths:
    """Run lengths of the bits of bytes, most significant first."""

    name: str = "rle"

    def encode_steps(self, data: NDArray[np.uint8]) -> Generator[float, None, bytes]:
        """See `Codec`."""
        parts: list[bytes] = []
        for start in range(0, max(1, len(data)), BLOCK):
            block = np.ascontiguousarray(data[start : start + BLOCK])
            stream = compress_packed(PackedBits(block, 8 * len(block)))
            end = start + len(block)
            parts += [(len(stream) | _LAST * (end == len(data))).to_bytes(_LENGTH, "little"), stream.tobytes()]
            yield end / max(1, len(data))
        return b"".join(parts)

    def decode_steps(self, coded: bytes, max_bytes: int) -> Generator[float, None, bytes]:
        """See `Codec`."""
        parts: list[bytes] = []
        at, size, last = 0, 0, False
        while not last:
            begin = at + _LENGTH
            front = int.from_bytes(coded[at:begin], "little")
            last, length = front >= _LAST, front % _LAST
            if begin + length > len(coded):
                raise _damaged("rle", at, f"a block of {length:,} bytes, and {max(0, len(coded) - begin):,} follow")
            parts.append(self._block(coded[begin : begin + length], begin, max_bytes, size))
            at, size = begin + length, size + len(parts[-1])
            yield at / len(coded)
        if at < len(coded):
            raise _damaged("rle", at, f"it ends there, and {len(coded) - at:,} bytes follow")
        return b"".join(parts)

    def _block(self, stream: bytes, begin: int, max_bytes: int, size: int) -> bytes:
        try:
            found = decompress_packed(stream, max_bits=8 * min(max_bytes - size, BLOCK))
        except RunLengthError as error:
            at = begin + error.offset
            raise RunLengthError(
                f"the rle data is damaged at byte {at:,}; in its block from {begin:,}: {error.message}", offset=at
            ) from None
        except ResourceLimitError as error:
            if error.estimate > 8 * BLOCK:
                raise _damaged("rle", begin, f"a block of {int(error.estimate):,} bits, and none holds so many") from None
            raise _too_large("rle", max_bytes) from None
        if found.num_bits % 8:
            raise _damaged("rle", begin, f"a block of {found.num_bits:,} bits, which are no whole bytes")
        return found.data.tobytes()


@dataclass(frozen=True)
class Library:
    """A codec of a library: `coder` for so many bytes, and `decoder`, as their streaming interfaces are; `fault`: its error."""

    name: str
    coder: Callable[[int], Any]
    decoder: Callable[[], Any]
    fault: type[Exception]

    def encode_steps(self, data: NDArray[np.uint8]) -> Generator[float, None, bytes]:
        """See `Codec`. Raises `CodecError` where the library cannot."""
        try:
            coder, parts = self.coder(len(data)), []
            for start in range(0, len(data), BLOCK):
                parts.append(coder.compress(np.ascontiguousarray(data[start : start + BLOCK]).data))
                yield start / len(data)
            parts.append(coder.flush())
        except self.fault as error:
            raise CodecError(f"{self.name} could not code {len(data):,} bytes ({error}): use another codec") from error
        return b"".join(parts)

    def decode_steps(self, coded: bytes, max_bytes: int) -> Generator[float, None, bytes]:
        """See `Codec`."""
        decoder, parts, size = self.decoder(), [], 0
        for number, start in enumerate(range(0, len(coded), _FED)):
            fed = coded[start : start + _FED]
            try:
                parts.append(decoder.decompress(fed))
            except self.fault as error:
                raise _damaged(self.name, start, f"{error}; noticed within {_FED:,} bytes, it may lie before") from error
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(self.name, max_bytes)
            if decoder.eof:
                end = start + len(fed) - len(decoder.unused_data)
                if end < len(coded):
                    raise _damaged(self.name, end, f"it ends there, and {len(coded) - end:,} bytes follow")
                return b"".join(parts)
            if number % _FED_PER_STEP == 0:
                yield start / len(coded)
        raise _damaged(self.name, len(coded), "it ends too early")


def _lzma_decoder() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)


def _zstd_coder(size: int) -> Any:
    return _zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(size=size)


def _zstd_decoder() -> Any:
    return _zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj()


def _damaged(name: str, offset: int, what: str) -> CodecError:
    return CodecError(
        f"the {name} data is damaged at byte {offset:,} ({what}): nothing was decoded. Use another copy, or the codec it was "
        "made with",
        offset=offset,
    )


def _too_large(name: str, max_bytes: int) -> ResourceLimitError:
    return ResourceLimitError(
        f"the {name} data holds more than the {max_bytes:,} bytes that are allowed here: decompress it where more are, or send "
        "it in parts",
        estimate=max_bytes + 1,
        limit=max_bytes,
    )
