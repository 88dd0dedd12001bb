"""Streams of predictions that code bytes, and lanes: data cut into parts that are coded side by side.

One lane is best for the ratio. Several can run at once: the kernels of a mixer release the GIL, and whoever calls says with
`run` how the lanes of one step are gone through (`map` of an executor, or the plain one).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bitlm_core.compression.container import BYTES_PER_CODED_BYTE
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder, new_trace
from bitlm_core.mixing.mixer import ContextMixer

Run = Callable[[Callable[[int], None], Iterable[int]], Iterator[None]]
"""Calls the function with each number, at once or one after the other."""


class Stream(Protocol):
    """What predicts one stream, and moves along while it is coded."""

    step_bytes: int
    """How many bytes take a fraction of a second: after so many, whoever wants to stop may."""

    def encode(self, encoder: ByteEncoder, data: NDArray[np.uint8]) -> None:
        """Code the next bytes."""

    def decode(self, decoder: ByteDecoder, out: NDArray[np.uint8]) -> None:
        """Decode the next bytes into `out`."""


class MixerStream:
    """A context mixer on its own, from where it stands."""

    step_bytes = 1 << 15

    def __init__(self, mixer: ContextMixer, *, learn: bool) -> None:
        self._mixer, self._learn = mixer, learn

    def encode(self, encoder: ByteEncoder, data: NDArray[np.uint8]) -> None:
        self._mixer.encode_into(encoder, data, learn=self._learn)

    def decode(self, decoder: ByteDecoder, out: NDArray[np.uint8]) -> None:
        self._mixer.decode_into(out, decoder, learn=self._learn)


class UndoneStream:
    """A mixer that learns within what it is given, from the state it had at first, and is put back after each call.

    It takes the memory of the mixer once more.
    """

    step_bytes = 1 << 12  # more at once is better done on a copy that is thrown away: a byte leaves 1.5 kB of trace

    def __init__(self, mixer: ContextMixer) -> None:
        self._kept, self._own = mixer.frozen(), mixer.copy()
        self._kept.start_document()
        self._own.start_document()

    def encode(self, encoder: ByteEncoder, data: NDArray[np.uint8]) -> None:
        trace = new_trace(len(data))
        try:
            self._own.encode_into(encoder, data, trace=trace)
        finally:
            self._own.undo(self._kept, trace)

    def decode(self, decoder: ByteDecoder, out: NDArray[np.uint8]) -> None:
        trace = new_trace(len(out))
        try:
            self._own.decode_into(out, decoder, trace=trace)
        finally:
            self._own.undo(self._kept, trace)


def encode_lanes(data: NDArray[np.uint8], streams: Sequence[Stream], run: Run = map) -> Generator[float, None, list[bytes]]:
    """Code a part of the data with each stream, yielding the share done; the codes."""
    parts, encoders = _parts(data, len(streams)), [ByteEncoder() for _ in streams]

    def work(lane: int, start: int, end: int) -> None:
        streams[lane].encode(encoders[lane], parts[lane][start:end])

    yield from _together(parts, streams, work, run)
    return [_believable(encoder.finish(), len(part)) for encoder, part in zip(encoders, parts, strict=True)]


def decode_lanes(
    codes: Sequence[memoryview], num_bytes: int, streams: Sequence[Stream], run: Run = map
) -> Generator[float, None, NDArray[np.uint8]]:
    """What `encode_lanes` coded with streams like these."""
    data = np.zeros(num_bytes, np.uint8)
    parts, decoders = _parts(data, len(streams)), [ByteDecoder(np.frombuffer(code, np.uint8)) for code in codes]

    def work(lane: int, start: int, end: int) -> None:
        streams[lane].decode(decoders[lane], parts[lane][start:end])

    yield from _together(parts, streams, work, run)
    return data


def _together(
    parts: Sequence[NDArray[np.uint8]], streams: Sequence[Stream], work: Callable[[int, int, int], None], run: Run
) -> Generator[float, None, None]:
    """All lanes one step further, and again."""
    longest, step = max(len(part) for part in parts), streams[0].step_bytes
    for start in range(0, longest, step):
        for _ in run(lambda lane: work(lane, start, start + step), range(len(parts))):  # noqa: B023 - run at once
            pass
        yield min(1.0, (start + step) / longest)


def _parts(data: NDArray[np.uint8], lanes: int) -> list[NDArray[np.uint8]]:
    edges = [len(data) * lane // lanes for lane in range(lanes + 1)]
    return [data[edges[lane] : edges[lane + 1]] for lane in range(lanes)]


def _believable(code: bytes, num_bytes: int) -> bytes:
    """With zeros behind it, which say nothing, until a reader believes how much is in it."""
    return code + bytes(max(0, -(-num_bytes // BYTES_PER_CODED_BYTE) - 1 - len(code)))
