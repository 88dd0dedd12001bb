"""`byte`: one position per byte, and a head of 255 nodes that reads the byte out bit by bit.

Input position t holds byte t − 1 (a start symbol for t = 0) and predicts byte t, in causal and in masked mode alike, so
that one set of weights can serve both. B batch, T bytes, M model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.layers.embedding import MASK, START, ByteEmbedding
from bitlm_core.layers.linear import Linear
from bitlm_core.models.config import ModelConfig
from bitlm_core.models.interface import Decoder, LanguageModel, MaskedPrediction
from bitlm_core.models.output import path_logits


class ByteLM(LanguageModel):
    """Sizes from `config`; `compute_dtype` is what activations use (weights stay fp32)."""

    predicts_parity = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.probe_bytes = config.max_bytes
        self.embedding = ByteEmbedding(config.d_model)
        self.head = Linear(config.d_model, 256, zero_init=True)

    def path_logits(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        return path_logits(self.predicted_nodes(data_BT, start_bytes=start_bytes), data_BT[:, start_bytes:])

    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        inputs = F.pad(data_BT[:, :-1], (1, 0), value=START)
        return self._nodes(self.stack(self._embed(inputs), causal=True)[:, start_bytes:])

    def predict_masked(self, data_BT: Tensor, hidden_BT: Tensor) -> MaskedPrediction:
        inputs = F.pad(data_BT.masked_fill(hidden_BT, MASK), (1, 0), value=START)
        return MaskedPrediction(self._nodes(self.stack(self._embed(inputs), causal=False)[:, :-1]), None)

    def open_decoder(self, prefix_T: Tensor) -> Decoder:
        return _ByteDecoder(self, prefix_T)

    def _embed(self, symbols_BT: Tensor) -> Tensor:
        return self.embedding(symbols_BT).to(self.compute_dtype)  # type: ignore[no-any-return]

    def _nodes(self, hidden: Tensor) -> Tensor:
        return self.head(hidden).float()  # type: ignore[no-any-return]


class _ByteDecoder(Decoder):
    def __init__(self, model: ByteLM, prefix_T: Tensor) -> None:
        self._model = model
        self._cache = model.stack.open_cache(model.config.max_seq_len)
        self.length = len(prefix_T)
        self._logits = self._read(F.pad(prefix_T, (1, 0), value=START))

    def node_logits(self) -> Tensor:
        if self._logits is None:
            raise AssertionError("a full decoder has no room to predict from: open a new one")
        return self._logits

    def append(self, byte: int) -> None:
        self.length += 1
        self._logits = self._read(torch.tensor([byte]))

    def _read(self, symbols_T: Tensor) -> Tensor | None:
        # The position after the last byte of a full window is never predicted from this cache.
        symbols_T = symbols_T[: self._model.config.max_seq_len - self._cache[0].length]
        if not len(symbols_T):
            return None
        hidden = self._model.stack(self._model._embed(symbols_T[None]), causal=True, cache=self._cache)
        return self._model._nodes(hidden[0, -1])
