"""Streams of bytes read by the compiled decoding kernels: network, mixing, draws and coding in one call for many bytes.

They see the windows of `windows` (or, with a locality, carry keys and values on), so that they predict what bulk scoring does.
What is read is only noted, and computed with the next call that needs it, many positions at once. Results depend neither on
how reads are cut nor on how many streams stand beside each other.

S streams, N bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ModelStateError
from bitlm_core.kernels import decode_loops as loops
from bitlm_core.kernels.decode_layout import Streams
from bitlm_core.kernels.decode_loops import Job
from bitlm_core.kernels.mixing_layout import Memory, new_scratch
from bitlm_core.kernels.range_coder import STATE_SIZE, Coder, rarities
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.coding import PIECE, ByteDecoder, ByteEncoder
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.tables import new_memory, tables
from bitlm_core.mixing.windows import window_end, window_start
from bitlm_core.models.packed import Packable, apart, open_room, open_streams, own_weights, packed, restart, weight_bytes
from bitlm_core.models.packed_stack import TURNS, AnyWeights, turns

_NO_CODER = Coder(np.zeros(STATE_SIZE, np.int64), np.zeros(0, np.uint8))
_NO_LOGITS, _NO_NUMBERS = np.zeros((0, 8), np.float32), np.zeros((0, 0))
MOST_AT_ONCE = TURNS // 4  # so that a table of angles serves several calls
"""Positions read in one call at most, so that it ends soon."""
SECONDS_AT_ONCE = 0.04
"""... and about so many seconds, on a machine that reads weights at 10 GB/s."""


class Places(NamedTuple):
    """Where several streams stand in the data that one frozen mixer knows: the parts of its memory that are each one's own."""

    recent: NDArray[np.uint8]  # [S, …]
    numbers: NDArray[np.int64]  # [S, …]


class FusedStreams:
    """`count` streams before their first byte. With a locality (see `LanguageModel.carrying`), one stream without an end.

    Raises ModelStateError where a weight of the model is not finite.
    """

    def __init__(
        self, model: Packable, *, count: int = 1, weights: AnyWeights = None, locality: Locality | None = None
    ) -> None:
        if locality is not None and count > 1:
            raise AssertionError("angles are held for one stream at a time where positions never end")
        self.model, self.count, self._locality = model, count, locality
        self._net, self._streams = open_streams(model, packed(model, weights or own_weights(model)), count, locality)
        self._room, self._scratch = open_room(self._net, self._streams), new_scratch()
        self._bytes = [bytearray() for _ in range(count)]
        self._starts = [0] * count
        self._unread = [[model.start_symbol] for _ in range(count)]

    @property
    def burst(self) -> int:
        """Positions that take about `SECONDS_AT_ONCE`, but not more than is good to do at once."""
        seconds = weight_bytes(self._net) / 1e10 + 3e-5
        return max(1, min(MOST_AT_ONCE, int(SECONDS_AT_ONCE / seconds)))

    @property
    def room(self) -> int:
        """How many bytes from here on are predicted from the present window, of whichever stream has the fewest."""
        if self._locality:
            return MOST_AT_ONCE
        size = self.model.config.max_bytes
        return min(window_end(len(read), size) - len(read) for read in self._bytes)

    def read(self, data: bytes, stream: int = 0) -> None:
        """Note more bytes of a stream."""
        self._note(stream, data, data)

    def settle(self) -> bool:
        """Compute a burst of what was noted; False when there was nothing worth it."""
        for stream, unread in enumerate(self._unread):
            if len(unread) > 1:
                part, self._unread[stream] = np.array(unread[: self.burst], np.int64), unread[self.burst :]
                self._call(self._reading(self._job(loops.READ), part, np.full(len(part), stream)), None)
                return True
        return False

    def node_logits(self) -> NDArray[np.float32]:
        """[256] logits of the byte tree for the next byte of stream 0, of the network alone."""
        job = self._job(loops.NODES)
        self._run(job)
        nodes: NDArray[np.float32] = job.nodes[0].astype(np.float32)
        return nodes

    def path_logits(self, data: bytes) -> NDArray[np.float32]:
        """[N, 8] logits of the bits of the next bytes of stream 0, of the network alone; then they have been read."""
        parts = [np.zeros((0, 8), np.float32)]
        for part in self._in_parts(data):
            job = self._job(loops.READ, part, logits=np.zeros((len(part), 8), np.float32))
            self._unread[0].extend(part[:-1])
            self._run(job)
            self._note(0, part, part[-1:])
            parts.append(job.logits)
        return np.concatenate(parts)

    def draw(
        self,
        uniforms: NDArray[np.float64],
        temperature: float,
        top_p: float,
        memory: Memory | None,
        places: Places | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The next bytes of each stream, [S, n], and their cost in nats at temperature 1. uniforms: [S, n], n at most `room`.

        memory: of a mixer that stands where stream 0 does (with `places`: where each does), and is moved along, not taught.
        Raises ModelStateError when predictions are not finite.
        """
        job = self._job(loops.DRAW, memory=memory)._replace(
            uniforms=np.ascontiguousarray(uniforms),
            sampling=np.array([temperature, top_p], np.float64),
            data=np.zeros(uniforms.shape, np.uint8),
            nats=np.zeros(uniforms.shape),
        )
        job.options[loops.STEPS] = uniforms.shape[1]
        if places is not None:
            job = job._replace(recent=places.recent, numbers=places.numbers)
        self._run(job, memory)
        if not np.isfinite(job.nats).all():
            raise ModelStateError("the network's predictions are not finite, it has diverged: load an earlier checkpoint of it")
        for stream, drawn in enumerate(job.data):
            self._note(stream, drawn.tobytes(), drawn[-1:].tobytes())
        return job.data, job.nats

    def encode(self, encoder: ByteEncoder, data: bytes, memory: Memory | None, *, learn: bool) -> None:
        """Code the next bytes of stream 0 and read them. `memory` of a mixer that stands there moves along, or learns too."""
        for start in range(0, len(data), PIECE):
            part = data[start : start + PIECE]
            job = self._job(loops.ENCODE, part, logits=self.path_logits(part), memory=memory, learn=learn)
            self._call(job._replace(coder=encoder.with_room(len(part))), memory)

    def decode(self, decoder: ByteDecoder, out: NDArray[np.uint8], memory: Memory | None, *, learn: bool) -> None:
        """Decode the next bytes into out [N], with streams and mixers in the state in which `encode` coded them."""
        done = 0
        while done < len(out):
            part = bytes(min(self.room, self.burst, len(out) - done))
            job = self._job(loops.DECODE, part, memory=memory, learn=learn)
            self._run(job._replace(coder=decoder.coder), memory)
            decoded = job.data[0].tobytes()
            self._note(0, decoded, decoded[-1:])
            out[done : done + len(part)] = job.data[0]
            done += len(part)

    def _note(self, stream: int, data: bytes, unread: bytes) -> None:
        """More bytes of a stream, of which the last are not computed yet. In a new window, all of its bytes are to be read."""
        self._bytes[stream] += data
        start = 0 if self._locality else window_start(len(self._bytes[stream]), self.model.config.max_bytes)
        if start == self._starts[stream]:
            self._unread[stream].extend(unread)
            return
        self._starts[stream] = start
        restart(self._streams, stream, self.model.start_symbol)
        self._unread[stream] = [self.model.start_symbol, *self._bytes[stream][start:]]

    def _in_parts(self, data: bytes) -> Iterator[bytes]:
        """Parts that are each predicted from one window; the next one is cut when the one before has been read."""
        done = 0
        while done < len(data):
            part = data[done : done + min(self.room, MOST_AT_ONCE)]
            yield part
            done += len(part)

    def _job(
        self,
        kind: int,
        data: bytes = b"",
        *,
        logits: NDArray[np.float32] = _NO_LOGITS,
        memory: Memory | None = None,
        learn: bool = False,
    ) -> Job:
        """A call for stream 0 alone; others replace what they need."""
        options = np.zeros(loops.OPTIONS, np.int64)
        options[loops.KIND], options[loops.MIXING], options[loops.LEARN] = kind, memory is not None, learn
        options[loops.STEPS] = len(data) if kind in (loops.ENCODE, loops.DECODE) else 0
        return Job(
            options=options,
            sampling=np.ones(2),
            symbols=np.zeros(self.count, np.int64),
            streams=np.zeros(self.count, np.int64),
            logits=logits,
            data=np.frombuffer(data, np.uint8)[None].copy(),
            uniforms=_NO_NUMBERS,
            nats=_NO_NUMBERS,
            nodes=np.zeros((4, 256)),
            recent=np.zeros((0, 0), np.uint8),
            numbers=np.zeros((0, 0), np.int64),
            coder=_NO_CODER,
            rarity=rarities(),
        )

    def _run(self, job: Job, memory: Memory | None = None) -> None:
        """The job, after all that is unread has been."""
        symbols = np.concatenate([np.array(unread, np.int64) for unread in self._unread])
        streams = np.repeat(np.arange(self.count), [len(unread) for unread in self._unread])
        self._unread = [[] for _ in range(self.count)]
        ahead = len(symbols) - max(1, len(job.logits))
        for start in range(0, ahead, MOST_AT_ONCE):
            part = slice(start, min(start + MOST_AT_ONCE, ahead))
            self._call(self._reading(self._job(loops.READ), symbols[part], streams[part]), None)
        last = slice(max(0, ahead), None)
        self._call(self._reading(job, symbols[last], streams[last]), memory)

    def _reading(self, job: Job, symbols: NDArray[np.int64], streams: NDArray[np.int64]) -> Job:
        """The job with symbols to be read first, and room for those of a step of all streams."""
        job.options[loops.NUM_SYMBOLS] = len(symbols)
        rest = np.zeros(self.count, np.int64)
        return job._replace(symbols=np.concatenate([symbols, rest]), streams=np.concatenate([streams, rest]))

    def _call(self, job: Job, memory: Memory | None) -> int:
        st = self._streams
        if isinstance(st, Streams) and self._locality and st.lengths[0] + 2 * MOST_AT_ONCE > st.turns_from[0] + TURNS:
            st.turns_from[0] = start = int(st.lengths[0])
            st.cos[:], st.sin[:] = turns(start, TURNS, 2 * st.cos.shape[1])
        run = loops.entry_point()
        return run(*apart(self._net, st, self._room), memory or _unused_memory(), tables(), self._scratch, job)


@lru_cache(maxsize=1)
def _unused_memory() -> Memory:
    """What stands for a mixer where there is none."""
    return new_memory(MixingConfig(memory_mib=8, history_bytes=1 << 12))
