"""`byte`: one position per byte, and a head of 255 nodes that reads the byte out bit by bit.

Input position t holds byte t − 1 (a start symbol for t = 0) and predicts byte t, in causal and in masked mode alike, so
that one set of weights can serve both. B batch, T bytes, M model width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.layers.embedding import MASK, START, ByteEmbedding, NgramEmbedding, signs_of_known
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.linear import Linear
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.neighbours import GroupEmbedding, NeighbourEmbedding, beside
from bitlm_core.models.carried import Carried
from bitlm_core.models.config import GROUPS, NGRAM_ORDERS, PLACES, ModelConfig
from bitlm_core.models.interface import Decoder, LanguageModel, MaskedPrediction
from bitlm_core.models.output import path_logits


class ByteLM(LanguageModel):
    """Sizes from `config`; `compute_dtype` is what activations use (weights stay fp32)."""

    predicts_parity = False
    start_symbol = START

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.probe_bytes = config.max_bytes
        self.embedding = ByteEmbedding(config.d_model)
        self.ngram_embedding = NgramEmbedding(config.d_model, config.ngram_rows, NGRAM_ORDERS) if config.ngram_rows else None
        self.symbols_read = max(NGRAM_ORDERS) if config.ngram_rows else 1
        both_sides = config.diffusion == "shared"
        self.neighbour_embedding = NeighbourEmbedding(config.d_model, PLACES) if both_sides else None
        hashes_groups = both_sides and config.ngram_rows > 0
        self.group_embedding = GroupEmbedding(config.d_model, config.ngram_rows, GROUPS) if hashes_groups else None
        self.head = Linear(config.d_model, 256, zero_init=True)

    def symbols(self, data_BT: Tensor) -> Tensor:
        return data_BT.to(self.device)

    def path_logits(
        self,
        data_BT: Tensor,
        *,
        start_bytes: int = 0,
        documents: Tensor | None = None,
        carried: Carried | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        data_BT = self.symbols(data_BT)
        inputs = self._inputs(data_BT[:, :-1], documents, carried)
        before = None if carried is None else carried.recent_BN[:, :-1]
        hidden = self._hidden(inputs, before, causal=True, trace=trace, **self._sight(documents, carried))
        return self._read_out(hidden[:, start_bytes:], data_BT[:, start_bytes:], trace)

    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        inputs = self._inputs(self.symbols(data_BT)[:, :-1], None, None)
        return self._nodes(self._hidden(inputs, causal=True)[:, start_bytes:])

    def _predict_masked(
        self, data_BT: Tensor, known_BT: Tensor, documents: Tensor | None, trace: Trace | None
    ) -> MaskedPrediction:
        partly = bool(((known_BT > 0) & (known_BT < 255)).any())
        data_BT, known_BT = self.symbols(data_BT), known_BT.to(self.device)
        symbols = data_BT.masked_fill(known_BT != 255, MASK)
        inputs = self._inputs(symbols, documents, None)
        also = self._of_neighbours(symbols, documents)
        if partly:  # each one position later, as all inputs
            bits = F.pad(signs_of_known(data_BT, known_BT), (0, 0, 1, 0))
            also = also + self.embedding.of_bits(bits, inputs)
        if documents is not None:
            documents = F.pad(documents, (0, 1), mode="replicate")
        hidden = self._hidden(inputs, causal=False, also=also, documents=documents, trace=trace)
        nodes = self._nodes(hidden[:, :-1])
        if trace is not None:
            trace.sample_nodes(nodes)
        return MaskedPrediction(nodes, None)

    def open_decoder(self, prefix_T: Tensor, *, locality: Locality | None = None) -> Decoder:
        return _ByteDecoder(self, prefix_T, locality)

    def _hidden(
        self,
        inputs_BT: Tensor,
        before_BN: Tensor | None = None,
        *,
        causal: bool,
        also: Tensor | float = 0.0,
        **passed: Any,
    ) -> Tensor:
        embedded = self._embedded(inputs_BT, before_BN, also)
        return self.stack(embedded, causal=causal, dtype=self.compute_dtype, **passed)  # type: ignore[no-any-return]

    def _embedded(self, inputs_BT: Tensor, before_BN: Tensor | None = None, also: Tensor | float = 0.0) -> Tensor:
        embedded: Tensor = self.embedding(inputs_BT) + also
        return embedded if self.ngram_embedding is None else embedded + self.ngram_embedding(inputs_BT, before_BN)

    def _of_neighbours(self, symbols_BT: Tensor, documents: Tensor | None) -> Tensor | float:
        """What the symbols on both sides of each byte say by themselves; nothing where the network reads the left alone."""
        if self.neighbour_embedding is None:
            return 0.0
        found = beside(symbols_BT, documents, PLACES)
        embedded: Tensor = self.neighbour_embedding(found)
        return embedded if self.group_embedding is None else embedded + self.group_embedding(found)

    def _read_out(self, hidden_BTM: Tensor, data_BT: Tensor, trace: Trace | None) -> Tensor:
        nodes = self._nodes(hidden_BTM)
        if trace is not None:
            trace.sample_nodes(nodes)
        return path_logits(nodes, data_BT)

    def _nodes(self, hidden: Tensor) -> Tensor:
        return self.head(hidden).float()  # type: ignore[no-any-return]


class _ByteDecoder(Decoder):
    def __init__(self, model: ByteLM, prefix_T: Tensor, locality: Locality | None) -> None:
        self._model, self._locality = model, locality
        self._cache = model.stack.open_cache(model.config.max_seq_len, locality)
        self._recent = torch.full((model.symbols_read,), START)
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
        if self._locality is None:
            symbols_T = symbols_T[: self._model.config.max_seq_len - self._cache[0].length]
        if not len(symbols_T):
            return None
        inputs, before = symbols_T[None].to(self._model.device), self._recent[None, 1:].to(self._model.device)
        hidden = self._model._hidden(inputs, before, causal=True, memory=self._cache, locality=self._locality)
        self._recent = torch.cat([self._recent, symbols_T])[-len(self._recent) :]
        return self._model._nodes(hidden[0, -1])
