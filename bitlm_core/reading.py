"""How a context mixer reads training data: in order, each byte once, predicted before it is learned.

So no byte is ever scored with its own counts. Beside a network most bytes are read without asking it: what the statistics
learn of a byte does not depend on the network, and asking costs five times what reading does. The rest is read with the
network as an expert, spread over the run, so that the mixer knows at any time how far it may trust the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.checkpoint.state_check import checked_counts
from bitlm_core.mixing.expert import network_path_logits
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.probe import read_probed
from bitlm_core.mixing.windows import stream_windows
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData

HEAD_START_BYTES = 1 << 20
"""As long as less was read of a data set, a step reads `HEAD_BYTES`: in the first seconds nothing else teaches as much."""
HEAD_BYTES = 1 << 17
ALONE_PER_BYTE = 2
"""Afterwards, bytes read without the network for each byte it trains on: an eighth of the time beside the preset small."""
ASKED_SHARE = 0.1
"""Of a data set, how much is read with the network; 0.5 or 1 gained no more on text."""
ASKED_AT_LEAST = 1 << 15
"""... but so many bytes of small data sets, up to half of them, for the mixer to learn how far the network can be trusted."""
ASKED_PER_BYTE = 0.5
"""At most so many bytes are read with the network for each byte it trains on, so that asking never takes over."""
ASKED_CHUNK = 256
"""... but at least so many at a time: a network asked about a few bytes sees too little before them."""
ASKED_BY = 0.9
"""The progress of a run by which it is over; what is left then, is read without the network."""
SHORT_RUN = 10
"""Steps of a run that leaves the rest to the next one instead: it is too short for the network to have become something."""


@dataclass(frozen=True)
class Due:
    """How many bytes are to be read, first without the network, then with it."""

    alone: int
    asked: int


def due(total: int, read: int, asked: int, *, batch_bytes: int, progress: float, steps_done: int) -> Due:
    """What a step that trains on `batch_bytes` has to read of a data set of `total` bytes.

    `read`: bytes of it read so far, `asked` of them with the network. A function of counts and of the plan's progress alone,
    so a run that is resumed reads what an uninterrupted one would.
    """
    reserve = max(int(ASKED_SHARE * total), min(total // 2, ASKED_AT_LEAST))
    kept = 0 if progress >= ASKED_BY and steps_done >= SHORT_RUN else reserve - asked
    pace = HEAD_BYTES if read < HEAD_START_BYTES else ALONE_PER_BYTE * batch_bytes
    alone = max(0, min(pace, total - read - kept))
    wanted = int(min(1.0, progress / ASKED_BY) * reserve) - asked
    chunk = min(max(ASKED_CHUNK, int(ASKED_PER_BYTE * batch_bytes)), total - read - alone, reserve - asked)
    return Due(alone, chunk if wanted >= chunk > 0 else 0)


@dataclass
class Reading:
    """What was read in one step: bytes, what they cost in nats, and (where that was wanted) what was predicted at the end."""

    num_bytes: int = 0
    nats: float = 0.0
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 8), np.float32))
    """[N, 8] of the last document read."""
    mean_distribution: NDArray[np.float64] | None = None
    """[256] what was predicted on average for the last bytes."""

    @property
    def bits_per_byte(self) -> float | None:
        """None where nothing was read."""
        return self.nats / (math.log(2) * self.num_bytes) if self.num_bytes else None


class Reader:
    """Where a mixer stands in the data sets it has met, by their digests."""

    def __init__(self, mixer: ContextMixer | None) -> None:
        self._mixer = mixer
        self._read_to: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        """How many of the bytes were read with the network."""
        self._reading: str | None = None
        """The data set that was read last: the mixer's context is of that one."""

    def knows(self, data: ByteData) -> bool:
        """Whether this data was met before."""
        return data.digest in self._read_to

    def bytes_left(self, data: ByteData) -> int:
        """How much of the data was never read."""
        return len(data) - self._read_to.get(data.digest, 0)

    def read_alone(self, data: ByteData, num_bytes: int = MIX_BYTES, *, probed: bool = False) -> Reading:
        """Read the next bytes, at most so many, without a network. `probed`: and tell what is predicted at their end."""
        reading = Reading()
        for mixer, begin, end in self._documents(data, num_bytes):
            span = np.asarray(data.array[begin:end])
            if probed:
                reading.logits, reading.mean_distribution = read_probed(mixer, span, learn=True)
            else:
                reading.logits = mixer.read(span)
            reading.num_bytes += len(span)
            reading.nats += total_nats(reading.logits, span)
        return reading

    def read_beside(self, model: LanguageModel, data: ByteData, plan: TrainingPlan, *, batch_bytes: int) -> float | None:
        """Read what is `due` in the plan's next step; bits per byte of what was read, None where nothing was.

        Raises ModelStateError when the network gives NaN.
        """
        read, asked = self._read_to.get(data.digest, 0), self._asked.get(data.digest, 0)
        now = due(len(data), read, asked, batch_bytes=batch_bytes, progress=plan.progress_next, steps_done=plan.steps_done)
        reading = self.read_alone(data, now.alone)
        for mixer, begin, end in self._documents(data, now.asked):
            span = np.asarray(data.array[begin:end])
            windows = stream_windows(len(span), model.config.max_bytes, 0)
            expert = np.concatenate([logits for _, logits in network_path_logits(model, span, windows)])
            reading.num_bytes += len(span)
            reading.nats += total_nats(mixer.read(span, expert), span)
        if self._mixer:
            self._asked[data.digest] = asked + now.asked
        return reading.bits_per_byte

    def _documents(self, data: ByteData, num_bytes: int) -> Iterator[tuple[ContextMixer, int, int]]:
        """The mixer, ready to read, and the next bytes of the data, document by document; noted as read when that is over."""
        start = self._read_to.setdefault(data.digest, 0)
        stop = min(len(data), start + num_bytes)
        if self._mixer is None or start == stop:
            return
        for begin, end in data.documents(start, stop):
            if data.digest != self._reading or data.begins_document(begin):
                self._mixer.start_document()
                self._reading = data.digest
            yield self._mixer, begin, end
        self._read_to[data.digest] = stop

    def state(self) -> dict[str, Any]:
        """For the header of a checkpoint."""
        return {"read_to": dict(self._read_to), "asked": dict(self._asked), "reading": self._reading}

    def restore(self, header: dict[str, Any]) -> None:
        """Take back what `state` gave. Raises KeyError or ValueError for anything else."""
        self._read_to, self._asked = checked_counts(header["read_to"]), checked_counts(header["asked"])
        if any(count > self._read_to.get(name, -1) for name, count in self._asked.items()):
            raise ValueError("more was read with the network than was read")
        self._reading = header.get("reading") if header.get("reading") in self._read_to else None
