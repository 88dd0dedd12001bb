"""What was read of long streams, segment by segment, and is carried to the next segment.

B streams, T bytes of a segment, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from bitlm_core.layers.memory import CarriedMemory, Locality


class ReadsSymbols(Protocol):
    """As much of a network as is needed here."""

    @property
    def positions_per_byte(self) -> int:
        """Positions that one byte takes."""

    def symbols(self, data_BT: Tensor) -> Tensor:
        """[B, T] bytes → [B, positions]."""


class Carried:
    """Keys and values of each layer, the last symbols of each stream, and the document of each position that is still seen.

    A segment is read (as often as is needed) with `path_logits(data, carried=…)` and then made the past by `commit`. The past
    is a constant: gradients end at it. What a byte sees depends on its place in the stream, not on where it was cut.
    """

    def __init__(self, memory: Sequence[CarriedMemory], locality: Locality, start_BN: Tensor) -> None:
        self.memory, self.locality, self.recent_BN = memory, locality, start_BN
        self.num_bytes = 0
        self._last_document_B1: Tensor | None = None
        self._documents_BS: Tensor | None = None

    def documents(self, of_segment_BN: Tensor) -> Tensor:
        """[B, S + N] documents of the positions still seen and of those of a segment."""
        return of_segment_BN if self._documents_BS is None else torch.cat([self._documents_BS, of_segment_BN], dim=1)

    def begins_document(self, documents_BT: Tensor) -> Tensor:
        """[B] True where a segment's first byte is the first of a document."""
        if self._last_document_B1 is None:
            return torch.ones(len(documents_BT), dtype=torch.bool, device=documents_BT.device)
        return documents_BT[:, 0] != self._last_document_B1[:, 0]

    def commit(self, model: ReadsSymbols, data_BT: Tensor, documents_BT: Tensor | None = None) -> None:
        """The segment is over."""
        step = model.positions_per_byte
        kept = self.recent_BN.shape[1]
        self.recent_BN = torch.cat([self.recent_BN, model.symbols(data_BT[:, -kept:])], dim=1)[:, -kept:]
        self.num_bytes += data_BT.shape[1]
        for memory in self.memory:
            memory.commit(data_BT.shape[1] * step)
        if documents_BT is not None:
            documents_BT = documents_BT.to(self.recent_BN.device)
            seen = self.memory[0].length - self.memory[0].first
            all_BN = self.documents(documents_BT.repeat_interleave(step, dim=1))
            self._documents_BS = all_BN[:, all_BN.shape[1] - seen :]
            self._last_document_B1 = documents_BT[:, -1:]

    def state(self) -> dict[str, Tensor]:
        """The tensors from which `restore` goes on exactly."""
        tensors = {"recent": self.recent_BN}
        for index, memory in enumerate(self.memory):
            if memory.past is not None:
                tensors[f"{index}.k"], tensors[f"{index}.v"] = memory.past
        if self._documents_BS is not None and self._last_document_B1 is not None:
            tensors |= {"documents": self._documents_BS, "last_document": self._last_document_B1}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], num_bytes: int, positions_per_byte: int) -> None:
        """Take back what `state` gave after `num_bytes`."""
        device = self.recent_BN.device
        held = {name: value.to(device) for name, value in tensors.items()}
        self.num_bytes, self.recent_BN = num_bytes, held["recent"]
        self._documents_BS, self._last_document_B1 = held.get("documents"), held.get("last_document")
        for index, memory in enumerate(self.memory):
            past = (held[f"{index}.k"], held[f"{index}.v"]) if num_bytes else None
            memory.restore(past, num_bytes * positions_per_byte)
