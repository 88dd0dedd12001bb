"""The one interface of all networks. Training, sampling, scoring and compression use nothing else.

B batch, T bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bitlm_core.errors import ConfigError
from bitlm_core.layers.embedding import NgramEmbedding
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.memory import Locality
from bitlm_core.layers.stack import BlockStack
from bitlm_core.models.carried import Carried
from bitlm_core.models.config import MAX_POSITIONS, ModelConfig

NGRAM_DROPOUT, MOST_NGRAM_DROPOUT = 4.0, 0.9


class Decoder(ABC):
    """A sequence being read byte by byte, with its cache. Positions already read are never computed again."""

    length: int
    """Bytes read so far; at most `max_bytes` of the model, where nothing is carried."""

    @abstractmethod
    def node_logits(self) -> Tensor:
        """[256] node logits of the next byte (fp32); see `output`."""

    @abstractmethod
    def append(self, byte: int) -> None:
        """Read one more byte."""


class MaskedPrediction(NamedTuple):
    """Node logits [B, T, 256] of each byte and, where the network models it, the logit [B, T] of its parity bit."""

    nodes: Tensor
    parity: Tensor | None


class LanguageModel(nn.Module, ABC):
    """A network over bytes: embedding and head are its own, the stack of blocks is the same for all.

    compute_dtype: what sub-blocks and head use; weights, streams and results are fp32.
    probe_bytes: for how many bytes at the end of a window `predicted_nodes` is cheap enough for telemetry.
    predicts_parity: whether masked predictions come with a readout of the parity bit.
    start_symbol: what stands before the first byte of a document.
    positions_beyond: how many are computed beyond a full window; masked mode reads the last symbol too.
    symbols_read: how many of the symbols up to a position its embedding is made of.
    masked_network: what masked predictions come from, where it is not this network itself; see `build_model`.
    """

    probe_bytes: int
    predicts_parity: bool
    start_symbol: int
    symbols_read = 1
    positions_beyond = 1

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.masked_network: LanguageModel | None = None
        self.stack = BlockStack(
            d_model=config.d_model,
            nhead=config.nhead,
            num_layers=config.num_layers,
            dim_feedforward=config.dim_feedforward,
            max_seq_len=config.max_seq_len + self.positions_beyond,
            position=config.position,
            sinusoid_copies=config.sinusoid_copies,
            differential=config.attention == "differential",
            locality=Locality(*config.chunks) if config.chunks else None,
            act_threshold=config.act_threshold,
            running="reversible" if config.reversible else "checkpointed" if config.use_checkpoint else "plain",
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are. Inputs may be anywhere; results are there."""
        return next(self.parameters()).device

    @property
    def networks(self) -> list[LanguageModel]:
        """This one, and that for masked predictions where there is one."""
        return [self] if self.masked_network is None else [self, self.masked_network]

    @property
    def stacks(self) -> list[BlockStack]:
        """All of this network's, in the order of the data."""
        return [self.stack]

    @property
    def positions_per_byte(self) -> int:
        """Positions that one byte takes."""
        return self.config.positions_per_byte

    def prepare(self, data: NDArray[np.uint8]) -> None:
        """Take from training data [N ≥ 1] what must be known before the first step; what is known already stays."""

    @abstractmethod
    def symbols(self, data_BT: Tensor) -> Tensor:
        """[B, T] bytes → [B, positions] the symbols that stand for them."""

    @abstractmethod
    def path_logits(
        self,
        data_BT: Tensor,
        *,
        start_bytes: int = 0,
        documents: Tensor | None = None,
        carried: Carried | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """[B, T] bytes (int64) → [B, T, 8]: the logit of each bit, given all earlier bits of its row. fp32.

        Only positions from `start_bytes` on are wanted: [B, T − start_bytes, 8]. `documents` [B, T] numbers the document of
        each byte: none is predicted from another one. `carried`: the rows go on where these streams stand.
        """

    @abstractmethod
    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        """[B, T] bytes → [B, T − start_bytes, 256] node logits of each byte, given the bytes before it. fp32."""

    def predict_masked(
        self, data_BT: Tensor, known_BT: Tensor, *, documents: Tensor | None = None, trace: Trace | None = None
    ) -> MaskedPrediction:
        """[B, T] bytes → what each byte is, given every known bit of its row. fp32.

        `known_BT` [B, T] int64: the bits known of each byte, bit 7 the most significant: 255 known, 0 hidden, else partly
        known. Bits that are not known are not read. That a byte agrees with its own known bits is not promised: condition the
        result, see `output.conditioned_log_probs`.
        """
        network = self.masked_network or self
        return network._predict_masked(data_BT, known_BT, documents, trace)

    @abstractmethod
    def _predict_masked(
        self, data_BT: Tensor, known_BT: Tensor, documents: Tensor | None, trace: Trace | None
    ) -> MaskedPrediction:
        """The same, of this very network."""

    @abstractmethod
    def open_decoder(self, prefix_T: Tensor, *, locality: Locality | None = None) -> Decoder:
        """A decoder that has read the given bytes, 0 ≤ T ≤ max_bytes. With a locality (see `carrying`) it reads for ever."""

    def carrying(self, ctx_bytes: int, overlap_bytes: int) -> Locality:
        """How attention sees a stream of any length: the stack's own chunks; for full attention chunks of `ctx_bytes` that
        also see `overlap_bytes` before them.

        Raises ConfigError for sinusoidal positions, which end, and for an overlap larger than a chunk.
        """
        if self.config.position != "rotary":
            raise ConfigError(
                f"position={self.config.position!r} ends at max_seq_len={self.config.max_seq_len}, so nothing can be carried "
                "past it: use a model with position='rotary', or read without carrying"
            )
        if self.stack.locality is not None:
            return self.stack.locality
        if not 0 <= overlap_bytes <= ctx_bytes:
            raise ConfigError(f"an overlap of {overlap_bytes} bytes is more than the context of {ctx_bytes}: give at most that")
        return Locality(ctx_bytes * self.positions_per_byte, overlap_bytes * self.positions_per_byte)

    def open_carried(self, locality: Locality, batch: int = 1) -> Carried:
        """`batch` streams before their first byte."""
        start = torch.full((batch, self.symbols_read), self.start_symbol, device=self.device)
        return Carried(self.stack.open_memory(locality), locality, start)

    def expand_positional_encoding(self, max_seq_len: int) -> None:
        """Let windows have `max_seq_len` positions; predictions in windows as they were before stay what they are.

        Raises ConfigError for less than there are or more than there may be.
        """
        if not self.config.max_seq_len <= max_seq_len <= MAX_POSITIONS:
            raise ConfigError(
                f"max_seq_len={max_seq_len} is not between the present {self.config.max_seq_len} and {MAX_POSITIONS}: "
                "positions can only be added"
            )
        for network in self.networks:
            network.config = network.config.model_copy(update={"max_seq_len": max_seq_len})
            for stack in network.stacks:
                stack.expand_positional_encoding(max_seq_len + network.positions_beyond)

    def set_dropout(self, dropout: float) -> None:
        """Share of activations dropped in training from now on; of rows of n-grams, `NGRAM_DROPOUT` times that."""
        for part in self.modules():
            if isinstance(part, BlockStack):
                part.set_dropout(dropout)
            elif isinstance(part, NgramEmbedding):
                part.dropout = min(MOST_NGRAM_DROPOUT, NGRAM_DROPOUT * dropout)

    def _inputs(self, symbols_BN: Tensor, documents_BT: Tensor | None, carried: Carried | None) -> Tensor:
        """The symbols, each one position later: what stands before a row or a document comes first."""
        first = symbols_BN.new_full((len(symbols_BN), 1), self.start_symbol) if carried is None else carried.recent_BN[:, -1:]
        inputs = torch.cat([first, symbols_BN], dim=1)
        if documents_BT is not None:
            begins = documents_BT[:, 1:] != documents_BT[:, :-1]
            later = inputs[:, self.positions_per_byte :: self.positions_per_byte]
            later[:, : begins.shape[1]].masked_fill_(begins, self.start_symbol)
            if carried is not None:
                inputs[:, 0].masked_fill_(carried.begins_document(documents_BT), self.start_symbol)
        return inputs

    def _sight(self, documents_BT: Tensor | None, carried: Carried | None) -> dict[str, Any]:
        """What the stack is to be told of the documents and of what was carried."""
        documents = None if documents_BT is None else documents_BT.repeat_interleave(self.positions_per_byte, dim=1)
        if carried is None:
            return {"documents": documents}
        documents = None if documents is None else carried.documents(documents)
        return {"documents": documents, "memory": carried.memory, "locality": carried.locality}
