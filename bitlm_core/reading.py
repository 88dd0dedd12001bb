"""How a context mixer reads training data: in order, each byte once, predicted before it is learned.

So no byte is ever scored with its own counts. Beside a network nearly all is read without asking it: what the statistics
learn of a byte does not depend on the network, and asking costs five times what reading does. The end of the data is
reserved: until the run is well advanced neither learns from it. Then the mixer reads it with the network as an expert, and
so learns what the network is worth on data that is new to both; from then on the network trains on it too. Only a training
that carries keys and values reads everything in order, reserved or not, and so trusts its network a little too much.
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
from bitlm_core.mixing.profile import LOOKED_AT as PROFILED_BYTES
from bitlm_core.mixing.profile import profile_of
from bitlm_core.mixing.trust import CalibrationPart
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.models.interface import LanguageModel
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.training.batches import Batch, joined, sample_windows
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData

HEAD_START_BYTES = 1 << 20
"""As long as less was read of a data set, a step reads `HEAD_BYTES`: in the first seconds nothing else teaches as much."""
HEAD_BYTES = 1 << 17
ALONE_PER_BYTE = 2
"""Afterwards, bytes read without the network for each byte it trains on: an eighth of the time beside the preset small."""
RESERVED_SHARE = 0.1
"""Of a data set, how much is reserved at its end ..."""
RESERVED_AT_MOST = 1 << 18
"""... at most, so that reading it with the network stays a matter of seconds."""
OPENED_AT = 0.7
"""The progress of a run at which the reserved part is read. Later, the network would hardly learn it any more."""
SHORT_RUN = 10
"""Steps of a run that leaves it to a later one: too few for the network to have become something."""
FRESH_PASSES = 2
"""So often the network is shown what was reserved, beside its random windows, to make up for what it missed."""
FRESH_ROWS = 2
"""One window in so many is of that part meanwhile."""


def reserved_from(total: int) -> int:
    """Where the reserved part of `total` bytes begins."""
    return total - min(int(RESERVED_SHARE * total), RESERVED_AT_MOST)


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
        self._opened: dict[str, int] = {}
        """Data sets whose reserved part was read, and how many windows of it the network was shown since."""
        self._at: tuple[str, int] | None = None
        """The data set that was read last, and where the mixer's context ends in it."""

    def knows(self, data: ByteData) -> bool:
        """Whether this data was met before."""
        return data.digest in self._read_to

    def bytes_left(self, data: ByteData) -> int:
        """How much of the data was never read."""
        return self._unreserved(data) - self._read_to.get(data.digest, 0)

    def opens_next(self, plan: TrainingPlan, data: ByteData) -> bool:
        """Whether the plan's next step is the one that reads the reserved part."""
        return (
            self._mixer is not None
            and data.digest not in self._opened
            and plan.progress_next >= OPENED_AT
            and plan.steps_done + 1 >= SHORT_RUN
        )

    def sample(self, data: ByteData, *, batch: int, length: int, seed: int, step: int) -> Batch:
        """Windows for the network, see `sample_windows`: none of the reserved part until it was read, more of it then."""
        start = reserved_from(len(data))
        shown = self._opened.get(data.digest)
        whole = self._mixer is None or start < length or len(data) - start < length
        if whole or (shown is not None and shown * length >= FRESH_PASSES * (len(data) - start)):
            return sample_windows(data, batch=batch, length=length, seed=seed, step=step)
        if shown is None:
            return sample_windows(data.part(0, start), batch=batch, length=length, seed=seed, step=step)
        fresh = min(batch, max(1, batch // FRESH_ROWS))
        self._opened[data.digest] = shown + fresh
        parts = [sample_windows(data.part(start, len(data)), batch=fresh, length=length, seed=seed, step=step)]
        if batch > fresh:
            parts.append(sample_windows(data, batch=batch - fresh, length=length, seed=seed, step=step))
        return joined(parts)

    def read_alone(self, data: ByteData, num_bytes: int = MIX_BYTES, *, probed: bool = False, reserve: bool = False) -> Reading:
        """Read the next bytes, at most so many, without a network. `probed`: and tell what is predicted at their end.

        `reserve`: leave the reserved part for `read_beside`.
        """
        reading = Reading()
        for mixer, begin, end in self._documents(data, num_bytes, reserve=reserve):
            span = np.asarray(data.array[begin:end])
            if probed:
                reading.logits, reading.mean_distribution = read_probed(mixer, span, learn=True)
            else:
                reading.logits = mixer.read(span)
            reading.num_bytes += len(span)
            reading.nats += total_nats(reading.logits, span)
        return reading

    def read_beside(self, model: LanguageModel, data: ByteData, plan: TrainingPlan, *, batch_bytes: int) -> float | None:
        """Read what is due in the plan's next step; bits per byte of what was read, None where nothing was.

        A function of counts and of the plan's progress alone, so a run that is resumed reads what an uninterrupted one would.
        Raises ModelStateError when the network gives NaN.
        """
        if self.opens_next(plan, data):
            return self._open(model, data).bits_per_byte
        read = self._read_to.get(data.digest, 0)
        pace = HEAD_BYTES if read < HEAD_START_BYTES else ALONE_PER_BYTE * batch_bytes
        return self.read_alone(data, pace, reserve=True).bits_per_byte

    def _open(self, model: LanguageModel, data: ByteData) -> Reading:
        """Read the reserved part with the network as an expert."""
        reading, parts = Reading(), []
        start = max(reserved_from(len(data)), self._read_to.get(data.digest, 0))
        if self._mixer is None or start == len(data):
            return reading
        at = self._at
        for begin, end in data.documents(start, len(data)):
            span = np.asarray(data.array[begin:end])
            windows = half_overlapping(len(span), model.config.max_bytes)
            expert = np.concatenate([logits for _, logits in network_path_logits(model, span, windows)])
            parts.append(CalibrationPart(span, expert, at != (data.digest, begin) or data.begins_document(begin)))
            at = (data.digest, end)
        self._choose_profile(self._mixer, data)
        self._at = at  # not before the network has answered: it may have diverged
        for part, logits in zip(parts, self._mixer.calibrate(parts), strict=True):
            reading.num_bytes += len(part.data)
            reading.nats += total_nats(logits, part.data)
        self._opened[data.digest] = 0
        return reading

    def _unreserved(self, data: ByteData, *, reserve: bool = False) -> int:
        """Up to where the data is read in order: all of it, or all but what is reserved or was read before its turn."""
        return reserved_from(len(data)) if reserve or data.digest in self._opened else len(data)

    def _documents(self, data: ByteData, num_bytes: int, *, reserve: bool) -> Iterator[tuple[ContextMixer, int, int]]:
        """The mixer, ready to read, and the next bytes of the data, document by document; noted as read when that is over."""
        start = self._read_to.setdefault(data.digest, 0)
        stop = max(start, min(self._unreserved(data, reserve=reserve), start + num_bytes))
        if self._mixer is None or start == stop:
            return
        self._choose_profile(self._mixer, data)
        for begin, end in data.documents(start, stop):
            if self._at != (data.digest, begin) or data.begins_document(begin):
                self._mixer.start_document()
            yield self._mixer, begin, end
            self._at = (data.digest, end)
        self._read_to[data.digest] = stop

    @staticmethod
    def _choose_profile(mixer: ContextMixer, data: ByteData) -> None:
        """By the first data that a mixer is going to read."""
        if not mixer.bytes_learned:
            rows = len(data.document_starts) < 2
            mixer.set_profile(profile_of(np.asarray(data.array[:PROFILED_BYTES]), rows=rows))

    def state(self) -> dict[str, Any]:
        """For the header of a checkpoint."""
        return {"read_to": dict(self._read_to), "opened": dict(self._opened), "at": list(self._at) if self._at else None}

    def restore(self, header: dict[str, Any]) -> None:
        """Take back what `state` gave. Raises KeyError, TypeError or ValueError for anything else."""
        self._read_to, self._opened = checked_counts(header["read_to"]), checked_counts(header["opened"])
        self._at = None
        if header["at"] is not None:
            name, place = header["at"]
            self._at = (str(name), int(place))
