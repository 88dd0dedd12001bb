"""`bit`: one position per bit, nine a byte (eight data bits, most significant first, then even parity).

Input position p holds bit p − 1 (a start symbol for p = 0) and predicts bit p; its phase p mod 9 is embedded beside it.
The parity bit is read but never predicted: it follows from the others. B batch, T bytes, N = 9·T bits.

One byte ahead of a sequence, the 255 node logits come from a single pass over a tree: one position per node, each seeing
the whole sequence and its own ancestors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.layers.embedding import BitEmbedding
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.linear import Linear
from bitlm_core.layers.memory import Locality
from bitlm_core.models.carried import Carried
from bitlm_core.models.config import BITS_PER_GROUP, ModelConfig
from bitlm_core.models.interface import Decoder, LanguageModel, MaskedPrediction
from bitlm_core.models.output import path_bits


def data_to_groups(data_BT: Tensor) -> Tensor:
    """[B, T] bytes → [B, T, 9] bits with even parity last."""
    bits = path_bits(data_BT)
    return torch.cat([bits, bits.sum(dim=-1, keepdim=True) & 1], dim=-1)


class BitLM(LanguageModel):
    """Sizes from `config`; `compute_dtype` is what activations use (weights stay fp32)."""

    predicts_parity = True
    start_symbol = BitEmbedding.START

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.probe_bytes = 16  # one pass over a tree each
        self.embedding = BitEmbedding(config.d_model)
        self.head = Linear(config.d_model, 1, zero_init=True)

    def symbols(self, data_BT: Tensor) -> Tensor:
        return data_to_groups(data_BT.to(self.device)).flatten(1)

    def path_logits(
        self,
        data_BT: Tensor,
        *,
        start_bytes: int = 0,
        documents: Tensor | None = None,
        carried: Carried | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        inputs = self._inputs(self.symbols(data_BT)[:, :-1], documents, carried)
        hidden = self._hidden(inputs, causal=True, trace=trace, **self._sight(documents, carried))
        return self._read_out(hidden)[:, start_bytes:]

    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        rows = []
        for row_T in data_BT:
            decoder = self.open_decoder(row_T[:start_bytes])
            nodes = []
            for byte in row_T[start_bytes:].tolist():
                nodes.append(decoder.node_logits())
                decoder.append(byte)
            rows.append(torch.stack(nodes))
        return torch.stack(rows)

    def _predict_masked(
        self, data_BT: Tensor, known_BT: Tensor, documents: Tensor | None, trace: Trace | None
    ) -> MaskedPrediction:
        # The parity bit of a byte of which some bits are hidden would give one of them away.
        known_BT = known_BT.to(self.device)
        known = torch.cat([path_bits(known_BT) == 1, (known_BT == 255)[..., None]], dim=-1)
        groups = _groups(self.symbols(data_BT)).masked_fill(~known, BitEmbedding.MASK)
        inputs = self._inputs(groups.flatten(1), documents, None)
        of_bits = self._sight(documents, None)["documents"]
        if of_bits is not None:
            of_bits = F.pad(of_bits, (0, 1), mode="replicate")
        logits_BN = self._logits(self._hidden(inputs, causal=False, documents=of_bits, trace=trace)[:, :-1])
        groups_BT9 = _groups(logits_BN)
        # Hidden bits of one byte are predicted side by side, so every node of a level shares its level's logit.
        level = F.pad(_tree()[0], (1, 0)).to(self.device)
        return MaskedPrediction(groups_BT9[..., level], groups_BT9[..., 8])

    def open_decoder(self, prefix_T: Tensor, *, locality: Locality | None = None) -> Decoder:
        return _BitDecoder(self, prefix_T, locality)

    def _hidden(self, inputs_BN: Tensor, *, causal: bool, **passed: Any) -> Tensor:
        memory = passed.get("memory")
        start = memory[0].length if memory else 0
        embedded = self._embedded(inputs_BN, start)
        return self.stack(embedded, causal=causal, dtype=self.compute_dtype, **passed)  # type: ignore[no-any-return]

    def _embedded(self, inputs_BN: Tensor, start: int = 0) -> Tensor:
        phases = (start + torch.arange(inputs_BN.shape[1], device=inputs_BN.device)) % BITS_PER_GROUP
        return self.embedding(inputs_BN, phases)  # type: ignore[no-any-return]

    def _read_out(self, hidden_BNM: Tensor) -> Tensor:
        return _groups(self._logits(hidden_BNM))[:, :, :8]

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden).float().squeeze(-1)  # type: ignore[no-any-return]


class _BitDecoder(Decoder):
    """Holds every bit of whole bytes in the cache but the last parity bit, which is the root of the next byte's tree."""

    def __init__(self, model: BitLM, prefix_T: Tensor, locality: Locality | None) -> None:
        self._model, self._locality = model, locality
        self._cache = model.stack.open_cache(model.config.max_seq_len + 256, locality)
        self.length = len(prefix_T)
        bits = F.pad(data_to_groups(prefix_T).flatten(), (1, 0), value=BitEmbedding.START)
        self._read(bits[:-1])
        self._root = int(bits[-1])
        self._tree: Tensor | None = None

    def node_logits(self) -> Tensor:
        if self._tree is None:
            self._tree = self._read_tree()
        return self._tree

    def append(self, byte: int) -> None:
        bits = data_to_groups(torch.tensor([byte])).flatten()
        self._read(F.pad(bits[:-1], (1, 0), value=self._root))
        self._root = int(bits[-1])
        self.length += 1
        self._tree = None

    def _read(self, bits_N: Tensor) -> None:
        if len(bits_N):
            inputs = bits_N[None].to(self._model.device)
            self._model._hidden(inputs, causal=True, memory=self._cache, locality=self._locality)

    def _read_tree(self) -> Tensor:
        model, held = self._model, self._cache[0].length
        depth, last_bit, ancestors = (part.to(model.device) for part in _tree())
        symbols = torch.where(depth == 0, self._root, last_bit)
        sees_sequence = torch.ones(255, held, dtype=torch.bool, device=model.device)
        mask = torch.cat([sees_sequence, ancestors], dim=1)
        hidden = model.stack(
            model.embedding(symbols[None], depth),
            causal=True,
            dtype=model.compute_dtype,
            memory=self._cache,
            locality=self._locality,
            positions=held + depth,
            mask=mask,
        )
        for layer in self._cache:
            layer.truncate(held)
        return F.pad(model._logits(hidden[0]), (1, 0))


def _groups(bits_BN: Tensor) -> Tensor:
    """[B, N] → [B, T, 9]."""
    return bits_BN.view(len(bits_BN), -1, BITS_PER_GROUP)


@lru_cache(maxsize=1)
def _tree() -> tuple[Tensor, Tensor, Tensor]:
    """Of the nodes 1 … 255: depth [255]; last bit of the prefix [255]; [255, 255] True where s is t or above it."""
    node = torch.arange(1, 256)
    depth = torch.tensor([index.bit_length() - 1 for index in range(1, 256)])
    above = torch.zeros(255, 255, dtype=torch.bool)
    for up in range(8):
        above |= (node[:, None] >> up) == node[None]
    return depth, node & 1, above
