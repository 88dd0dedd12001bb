"""A network in three pieces, for processes that hold some of its layers each: what comes before the blocks of its middle
stack, these blocks, and what comes after. Together they are `path_logits` of rows in training.

The middle stack is the only one of `byte` and `bit`, and the one over patches of `patch`. B batch, T bytes, N positions of the
middle stack, M its width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bitlm_core.layers.halting import Trace
from bitlm_core.layers.patches import Cut
from bitlm_core.models.bit_lm import BitLM
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_logits
from bitlm_core.models.patch_lm import PatchLM


class Pieces(ABC):
    """The first and the last piece. `after`: the modules that hold the parameters of the last."""

    after: list[nn.Module]

    def beside(self, data_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """What `enter` gives beside the stack's input, as tensors of that shape; `dtype`: of the pass."""
        return ()

    @abstractmethod
    def length(self, data_BT: Tensor, documents_BT: Tensor | None) -> int:
        """N, of these rows together."""

    @abstractmethod
    def enter(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> tuple[Tensor, ...]:
        """[B, N, M] what the stack reads, and what `leave` wants beside its output."""

    @abstractmethod
    def documents(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> Tensor | None:
        """[B, N] the document of each position; None where all are of one."""

    @abstractmethod
    def leave(
        self, hidden_BNM: Tensor, beside: Sequence[Tensor], data_BT: Tensor, documents_BT: Tensor | None, trace: Trace
    ) -> Tensor:
        """[B, T, 8] path logits, of what the stack gave."""


class _Bytes(Pieces):
    def __init__(self, model: ByteLM) -> None:
        self._model, self.after = model, [model.head]

    def length(self, data_BT: Tensor, documents_BT: Tensor | None) -> int:
        return data_BT.shape[1]

    def enter(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> tuple[Tensor, ...]:
        return (self._model._embedded(_inputs(self._model, data_BT, documents_BT)),)

    def documents(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> Tensor | None:
        return documents_BT

    def leave(
        self, hidden_BNM: Tensor, beside: Sequence[Tensor], data_BT: Tensor, documents_BT: Tensor | None, trace: Trace
    ) -> Tensor:
        return self._model._read_out(hidden_BNM, data_BT, trace)


class _Bits(Pieces):
    def __init__(self, model: BitLM) -> None:
        self._model, self.after = model, [model.head]

    def length(self, data_BT: Tensor, documents_BT: Tensor | None) -> int:
        return data_BT.shape[1] * self._model.positions_per_byte

    def enter(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> tuple[Tensor, ...]:
        return (self._model._embedded(_inputs(self._model, data_BT, documents_BT)),)

    def documents(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> Tensor | None:
        return None if documents_BT is None else documents_BT.repeat_interleave(self._model.positions_per_byte, dim=1)

    def leave(
        self, hidden_BNM: Tensor, beside: Sequence[Tensor], data_BT: Tensor, documents_BT: Tensor | None, trace: Trace
    ) -> Tensor:
        return self._model._read_out(hidden_BNM)


class _Patches(Pieces):
    """Rows of a batch are cut into as many patches, so that parts of it are alike: those too many are never read."""

    def __init__(self, model: PatchLM) -> None:
        self._model = model
        self.after = [model.reading, model.decoder, model.head]

    def beside(self, data_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        shape = (*data_BT.shape, self._model.sizes.local_width)
        return (torch.empty(shape, dtype=dtype, device=data_BT.device),)

    def length(self, data_BT: Tensor, documents_BT: Tensor | None) -> int:
        return self._model.cut(_inputs(self._model, data_BT, documents_BT)).num_patches

    def enter(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> tuple[Tensor, ...]:
        model, cut = self._model, self._cut(data_BT, documents_BT, length)
        local = model._encode(_inputs(model, data_BT, documents_BT), documents=documents_BT)
        patches = model._pooled(local, model.pooling.keys_values(local), cut, 0, length)
        if model.memory is not None:
            patches, _ = model.memory(patches, self.documents(data_BT, documents_BT, length))
        return patches.float(), local

    def documents(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> Tensor | None:
        return None if documents_BT is None else documents_BT.gather(1, self._cut(data_BT, documents_BT, length).last)

    def leave(
        self, hidden_BNM: Tensor, beside: Sequence[Tensor], data_BT: Tensor, documents_BT: Tensor | None, trace: Trace
    ) -> Tensor:
        cut = self._cut(data_BT, documents_BT, hidden_BNM.shape[1])
        nodes = self._model._read_out(self._model.reading.opened(hidden_BNM), beside[0], cut, documents_BT)
        trace.sample_nodes(nodes)
        return path_logits(nodes, data_BT)

    def _cut(self, data_BT: Tensor, documents_BT: Tensor | None, length: int) -> Cut:
        return self._model.cut(_inputs(self._model, data_BT, documents_BT)).padded(length)


def pieces_of(model: LanguageModel) -> Pieces:
    """Of any network."""
    if isinstance(model, ByteLM):
        return _Bytes(model)
    if isinstance(model, BitLM):
        return _Bits(model)
    assert isinstance(model, PatchLM)  # noqa: S101 - there are no others
    return _Patches(model)


def _inputs(model: LanguageModel, data_BT: Tensor, documents_BT: Tensor | None) -> Tensor:
    return model._inputs(model.symbols(data_BT)[:, :-1], documents_BT, None)
