"""Batches of a whole stream in order, with what was read carried over: `train_full_sequence`.

The data is cut into as many streams of equal length as a batch has rows. Each step reads the next segment of each; keys and
values are carried from one to the next as constants, so memory is that of one segment while attention reaches back past its
beginning. When the streams end, the next pass begins with nothing carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlm_core.layers.memory import Locality
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch
from bitlm_core.training.data import ByteData

MAX_STREAMS = 4096

State = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""Tensors, and what is said of them in a checkpoint's header."""


class Segments:
    """The segments of one set of data, `length` bytes each, in `batch` streams (fewer where the data is short)."""

    def __init__(self, model: LanguageModel, data: ByteData, *, batch: int, length: int) -> None:
        self._model, self._data = model, data
        self._length = min(length, len(data))
        self._streams = max(1, min(batch, len(data) // self._length))
        self._stream_bytes = len(data) // self._streams
        self._locality = model.carrying(self._length, self._length)
        self.carried = model.open_carried(self._locality, self._streams)

    @property
    def num_segments(self) -> int:
        """Steps in one pass over the data."""
        return max(1, (self._stream_bytes + self._length - 2) // self._length)

    def next_batch(self) -> Batch:
        """The segment that follows what was committed; the last one of a pass may be shorter, but not under two bytes."""
        if self._stream_bytes - self.carried.num_bytes < 2:
            self.carried = self._model.open_carried(self._locality, self._streams)
        begin = self.carried.num_bytes
        end = min(begin + self._length, self._stream_bytes)
        places = np.arange(self._streams)[:, None] * self._stream_bytes + np.arange(begin, end)
        windows = torch.from_numpy(self._data.array[places].astype(np.int64))
        if not len(self._data.document_starts):
            return Batch(windows)
        return Batch(windows, torch.from_numpy(np.searchsorted(self._data.document_starts, places, side="right")))

    def commit(self, batch: Batch) -> None:
        """The batch was trained on: go on behind it."""
        self.carried.commit(self._model, batch.data, batch.documents)

    def state(self) -> State:
        """What `go_on_from` continues exactly."""
        return self.carried.state(), {**self._described, "num_bytes": self.carried.num_bytes}

    def go_on_from(self, state: State) -> None:
        """Continue where `state` was taken; of other data or other segments, stay at the beginning."""
        tensors, header = state
        if {**self._described, "num_bytes": header["num_bytes"]} == header and header["num_bytes"] <= self._stream_bytes:
            self.carried.restore(tensors, header["num_bytes"], self._model.positions_per_byte)

    @property
    def _described(self) -> dict[str, Any]:
        locality = [self._locality.chunk, self._locality.overlap]
        return {"digest": self._data.digest, "length": self._length, "streams": self._streams, "locality": locality}


def segment_layout(
    model: LanguageModel, dtype: torch.dtype, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of what `Segments.state` gives with that header, of a model that was trained in that dtype.

    Raises KeyError, TypeError or ValueError for a header that no state has, or symbols that are none.
    """
    config, recent = model.config, tensors["recent"]
    streams, positions = int(header["streams"]), int(header["num_bytes"]) * config.positions_per_byte
    locality = Locality(*(int(value) for value in header["locality"]))
    if not (1 <= streams <= MAX_STREAMS and 0 <= positions < 1 << 44 and 0 <= locality.overlap <= locality.chunk < 1 << 21):
        raise ValueError(f"{header!r:.200} describes no carried state")
    if not 0 <= int(recent.min()) <= int(recent.max()) <= model.start_symbol:
        raise ValueError("recent holds what is no symbol")
    seen, pairs = positions - locality.first_seen(positions), 2 if config.attention == "differential" else 1
    width = config.d_model // config.nhead
    layout: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"recent": ((streams, model.symbols_read), torch.int64)}
    for index in range(config.num_layers if positions else 0):
        layout[f"{index}.k"] = ((streams, config.nhead * pairs, seen, width // pairs), dtype)
        layout[f"{index}.v"] = ((streams, config.nhead, seen, width), dtype)
    if "documents" in tensors:
        layout |= {"documents": ((streams, seen), torch.int64), "last_document": ((streams, 1), torch.int64)}
    return layout
