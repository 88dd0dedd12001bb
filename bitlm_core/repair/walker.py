"""What a model says of alternatives: bytes that might stand at one place of the data, and what follows them.

A walker goes through the data once, from left to right. Wherever it stands it opens *rows*: alternatives that share all bytes
up to there and differ in what was read since. To a mixer a row is a place (see `mixing.places`), to the network a row of a
batch with some context before the place. A network costs a thousand times more, so beside a mixer it is asked only in the end,
for what is still likely.

B rows, n bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.mixing.expert import checked
from bitlm_core.mixing.fused import Places
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.places import PlacedMixer
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs
from bitlm_core.repair.documents import ONE, Documents

POSITIONS_PER_BATCH = 8192
"""Of the network; memory grows with it."""
LEFT_BYTES = 128
"""Of context before the place are enough for the network, where its window has room for them."""


def half_window(model: LanguageModel) -> int:
    """Bytes of context that the network sees before a place at most, and so many it can read after it."""
    return max(1, model.config.max_bytes // 2)


def _nats(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[B] what rows of bytes [B, n] cost, from logits [B, n, 8] of their bits."""
    bits = np.unpackbits(data[..., None], axis=2)
    found: NDArray[np.float64] = np.logaddexp(0.0, np.where(bits == 1, -logits, logits).astype(np.float64)).sum(axis=(1, 2))
    return found


@dataclass(frozen=True)
class Rows:
    """tails [B, n]: what each row has read since the place; the mixer's places, where there is a mixer."""

    tails: NDArray[np.uint8]
    places: Places | None

    def __len__(self) -> int:
        return len(self.tails)


class Walker:
    """Stands at byte `start` of `data`, which is read as it is when it is passed.

    The mixer is moved along and, where it is to be `adaptive`, taught: it must be the walker's own, or else `frozen`. One of
    `model` and `mixer` may be None. `documents`: the data's; what stands before a document is no context in it. One, if None.
    """

    def __init__(
        self,
        model: LanguageModel | None,
        mixer: ContextMixer | None,
        data: NDArray[np.uint8],
        *,
        adaptive: bool,
        start: int = 0,
        documents: Documents | None = None,
    ) -> None:
        self._model, self._data, self._adaptive = model, data, adaptive
        self._mixer, self._documents = mixer, documents or Documents(ONE, len(data))
        if mixer:
            self._documents.stand_at(mixer, data, start)
        self._placed = PlacedMixer(mixer) if mixer else None
        self.at = start

    def go(self, place: int) -> None:
        """Read on to `place`."""
        if self._mixer:
            self._documents.read(self._mixer, self._data, self.at, place, learn=self._adaptive)
        self.at = place

    def open(self) -> Rows:
        """One row that has read nothing yet."""
        return Rows(np.zeros((1, 0), np.uint8), self._placed.here() if self._placed else None)

    @property
    def has_both(self) -> bool:
        """Whether there is a network beside the mixer."""
        return self._model is not None and self._placed is not None

    def log_probs(self, rows: Rows) -> NDArray[np.float64]:
        """[B, 256] ln p of the byte that comes: by the mixer alone, or by the network where there is none."""
        if self._placed and rows.places:
            nodes = self._placed.node_logits(rows.places)
        else:
            assert self._model is not None  # noqa: S101 - without a mixer there is a network
            coming = np.pad(rows.tails, ((0, 0), (0, 1)))
            nodes = self._network(self._model, coming, rows.tails.shape[1], whole=True)[:, 0]
        found: NDArray[np.float64] = byte_log_probs(torch.from_numpy(nodes).double()).numpy()
        return found

    def read(self, rows: Rows, parents: NDArray[np.int64], data: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Rows]:
        """Rows that read data [B, n], row b after row parents[b]: nats [B] that it costs by what `log_probs` asks; and they."""
        tails = np.concatenate([rows.tails[parents], data], axis=1)
        if self._placed and rows.places:
            logits, places = self._placed.read(rows.places, parents, data)
            return _nats(logits, data), Rows(tails, places)
        assert self._model is not None  # noqa: S101 - as above
        return _nats(self._network(self._model, tails, rows.tails.shape[1]), data), Rows(tails, None)

    def costs(self, data: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Nats [B] that data [B, n] costs from here on, by network and mixer together."""
        assert self._model is not None and self._placed is not None  # noqa: S101 - asked only where there are both
        expert = self._network(self._model, data, 0)
        logits, _ = self._placed.read(self._placed.here(), np.zeros(len(data), np.int64), data, expert, move=False)
        return _nats(logits, data)

    @torch.no_grad()
    def _network(
        self, model: LanguageModel, tails: NDArray[np.uint8], known: int, *, whole: bool = False
    ) -> NDArray[np.float32]:
        """Logits of the bytes of tails [B, n] after the first `known`: [B, n - known, 8] of their bits, or 256 of all nodes."""
        first = max(self._documents.begin(self.at), self.at - min(LEFT_BYTES, half_window(model)))
        left = self._data[first : self.at]
        rows = np.concatenate([np.broadcast_to(left, (len(tails), len(left))), tails], axis=1)
        start = len(left) + known
        ask = model.predicted_nodes if whole else model.path_logits
        per_batch = max(1, POSITIONS_PER_BATCH // (rows.shape[1] * model.positions_per_byte))
        parts = [
            checked(ask(torch.from_numpy(rows[i : i + per_batch].astype(np.int64)), start_bytes=start))
            for i in range(0, len(rows), per_batch)
        ]
        return np.concatenate(parts)
