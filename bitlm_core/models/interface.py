"""The one interface of all networks. Training, sampling, scoring and compression use nothing else.

B batch, T bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bitlm_core.layers.block import BlockStack
from bitlm_core.models.config import ModelConfig


class Decoder(ABC):
    """A sequence being read byte by byte, with its cache. Positions already read are never computed again."""

    length: int
    """Bytes read so far; at most `max_bytes` of the model."""

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

    compute_dtype: what activations use; weights and results are fp32.
    probe_bytes: for how many bytes at the end of a window `predicted_nodes` is cheap enough for telemetry.
    predicts_parity: whether masked predictions come with a readout of the parity bit.
    """

    probe_bytes: int
    predicts_parity: bool

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.stack = BlockStack(
            d_model=config.d_model,
            nhead=config.nhead,
            num_layers=config.num_layers,
            dim_feedforward=config.dim_feedforward,
            max_seq_len=config.max_seq_len + 1,  # masked mode reads the last symbol too, one position more
            dropout=config.dropout,
            position=config.position,
        )

    @abstractmethod
    def path_logits(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        """[B, T] bytes (int64) → [B, T, 8]: the logit of each bit, given all earlier bits of its row. fp32.

        Only positions from `start_bytes` on are wanted: [B, T − start_bytes, 8].
        """

    @abstractmethod
    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        """[B, T] bytes → [B, T − start_bytes, 256] node logits of each byte, given the bytes before it. fp32."""

    @abstractmethod
    def predict_masked(self, data_BT: Tensor, hidden_BT: Tensor) -> MaskedPrediction:
        """[B, T] bytes, [B, T] True where hidden → what each byte is, given every visible byte of its row. fp32."""

    @abstractmethod
    def open_decoder(self, prefix_T: Tensor) -> Decoder:
        """A decoder that has read the given bytes, 0 ≤ T ≤ max_bytes."""
