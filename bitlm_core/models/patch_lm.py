"""`patch`: a large transformer over patches between two small ones over bytes (the byte-latent transformer, arXiv 2412.09871).

    bytes ─ embedding, n-grams ─→ encoder ─┬─ pooling: each patch its own bytes ─→ transformer over patches
                                           └─ + reading: each byte the last complete patch ←──────────┘ ─→ decoder ─→ head

Input position t holds byte t − 1 (a start symbol for t = 0) and predicts byte t, as in `byte`. Patches are cut over these
inputs: whether a patch is complete at t follows from the inputs up to t (`patching`), so nothing of byte t is ever seen.

B batch, T bytes, P patches, W width of the streams over bytes, M width of the patches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.layers.embedding import START, ByteEmbedding, NgramEmbedding
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.linear import Linear
from bitlm_core.layers.memory import KeyValueCache, Locality
from bitlm_core.layers.patches import Cut, MemoryState, PatchMemory, PatchPooling, PatchReading, cut_at, gathered
from bitlm_core.layers.stack import BlockStack
from bitlm_core.models.carried import Carried
from bitlm_core.models.config import ModelConfig
from bitlm_core.models.interface import Decoder, LanguageModel, MaskedPrediction
from bitlm_core.models.output import path_logits
from bitlm_core.models.patch_sizes import MAX_ORDER, PatchSizes
from bitlm_core.patching.boundaries import patch_ends, starts_after
from bitlm_core.patching.entropy import EntropyModel
from bitlm_core.patching.patcher import Patcher

AT_ONCE = 64
"""Patches that answers compute together. How many there are in a row follows from all of it, and how many rows a product has
may move the last bit of each: so that later bytes move nothing, all products have this many."""


class PatchLM(LanguageModel):
    """Sizes from `config` and its `patch`. `entropy` says where patches start: to be fitted before anything is learned."""

    predicts_parity = False
    start_symbol = START
    positions_beyond = AT_ONCE  # patches that fill up the last of those computed together

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        sizes = config.patch
        assert sizes is not None  # noqa: S101  (the config's own rule)
        self.sizes, self.probe_bytes, width = sizes, config.max_bytes, sizes.local_width
        self.entropy = EntropyModel(sizes.patching)
        self.embedding = ByteEmbedding(width)
        orders = sizes.ngram_orders
        self.ngram_embedding = NgramEmbedding(width, config.ngram_rows, orders) if config.ngram_rows else None
        self.encoder, self.decoder = (
            _local_stack(config, sizes, layers) for layers in (sizes.encoder_layers, sizes.decoder_layers)
        )
        self.pooling = PatchPooling(width, config.d_model, sizes.local_heads)
        self.memory = PatchMemory(config.d_model, sizes.memory_span) if sizes.memory_span else None
        self.reading = PatchReading(width, config.d_model, sizes.local_heads, sizes.slots)
        self.head = Linear(width, 256, zero_init=True)

    @property
    def stacks(self) -> list[BlockStack]:
        return [self.encoder, self.stack, self.decoder]

    def prepare(self, data: NDArray[np.uint8]) -> None:
        if not self.entropy.fitted and self.sizes.patching.reads_entropies:
            self.entropy.fit(data)

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
        nodes = self._nodes(self._inputs(data_BT[:, :-1], documents, carried), documents, trace)[:, start_bytes:]
        if trace is not None:
            trace.sample_nodes(nodes)
        return path_logits(nodes, data_BT[:, start_bytes:])

    def predicted_nodes(self, data_BT: Tensor, *, start_bytes: int = 0) -> Tensor:
        return self._nodes(self._inputs(self.symbols(data_BT)[:, :-1], None, None))[:, start_bytes:]

    def _predict_masked(
        self, data_BT: Tensor, known_BT: Tensor, documents: Tensor | None, trace: Trace | None
    ) -> MaskedPrediction:
        raise ModelStateError(
            "architecture='patch' cuts patches at bytes, which masks hide: make the model with diffusion='own', a byte network "
            "for masked predictions beside it"
        )

    def carrying(self, ctx_bytes: int, overlap_bytes: int) -> Locality:
        raise ConfigError(
            "architecture='patch' carries no keys and values from window to window: read without carrying, or use "
            "architecture='byte'"
        )

    def open_decoder(self, prefix_T: Tensor, *, locality: Locality | None = None) -> Decoder:
        if locality is not None:
            self.carrying(locality.chunk, locality.overlap)
        return _PatchDecoder(self, prefix_T)

    def cut(self, inputs_BT: Tensor) -> Cut:
        """Input symbols (see above) as patches."""
        ends = self._ends(inputs_BT)
        return cut_at(starts_after(ends, inputs_BT), ends)

    def cut_starts(self, inputs_BT: Tensor) -> Tensor:
        """Bool [B, T], True where one of these patches starts, of rows of any length."""
        return starts_after(self._ends(inputs_BT), inputs_BT)

    def _ends(self, inputs_BT: Tensor) -> Tensor:
        entropies = self.entropy.entropies(inputs_BT) if self.sizes.patching.reads_entropies else None
        return patch_ends(inputs_BT, entropies, self.sizes.patching, self.entropy.threshold)

    def _nodes(self, inputs_BT: Tensor, documents: Tensor | None = None, trace: Trace | None = None) -> Tensor:
        local = self._encode(inputs_BT, documents=documents)
        cut = self.cut(inputs_BT)
        if trace is not None:
            trace.starts = cut.starts & (inputs_BT[:, 1:] != START)  # START stands for a byte that is part of no patch
        return self._read_out(self._latent(local, cut, documents, trace), local, cut, documents)

    def _read_out(self, latent: Tensor, local_BTW: Tensor, cut: Cut, documents: Tensor | None) -> Tensor:
        hidden = self._decode(self.reading(local_BTW, gathered(latent, cut.complete)), documents=documents)
        return self.head(hidden).float()  # type: ignore[no-any-return]

    def _encode(self, inputs_BT: Tensor, before_BN: Tensor | None = None, **passed: Any) -> Tensor:
        embedded = self.embedding(inputs_BT)
        if self.ngram_embedding is not None:
            embedded = embedded + self.ngram_embedding(inputs_BT, before_BN)
        return self.encoder(embedded, causal=True, dtype=self.compute_dtype, **passed)  # type: ignore[no-any-return]

    def _decode(self, read_BTW: Tensor, **passed: Any) -> Tensor:
        return self.decoder(read_BTW.float(), causal=True, dtype=self.compute_dtype, **passed)  # type: ignore[no-any-return]

    def _latent(self, local_BTW: Tensor, cut: Cut, documents: Tensor | None, trace: Trace | None) -> Tensor:
        """[B, P, 2 s W] what each patch shows to the bytes after it."""
        keys, values = self.pooling.keys_values(local_BTW)
        at_once = cut.num_patches if self.training or (trace is not None and trace.probe) else AT_ONCE
        cut = cut.padded(at_once)
        of_patches = None if documents is None else documents.gather(1, cut.last)
        past = None if self.training else [KeyValueCache(cut.num_patches) for _ in self.stack.blocks]
        opened, state = [], None
        for begin in range(0, cut.num_patches, at_once):
            end = begin + at_once
            patches = self._pooled(local_BTW, (keys, values), cut, begin, end)
            if self.memory is not None:
                patches, state = self.memory(patches, None if of_patches is None else of_patches[:, begin:end], state)
            seen = None if of_patches is None else of_patches[:, :end]
            if trace is not None:
                trace.counted = cut.real(begin, end)
            opened.append(self._open(patches, memory=past, documents=seen, trace=trace))
        return torch.cat(opened, dim=1)

    def _pooled(self, local_BTW: Tensor, keys_values: tuple[Tensor, Tensor], cut: Cut, begin: int, end: int) -> Tensor:
        last_BP1 = cut.last[:, begin:end, None]
        last_BPW = local_BTW.gather(1, last_BP1.expand(-1, -1, local_BTW.shape[2]))
        return self.pooling(last_BPW, *keys_values, cut.mask(begin, end))  # type: ignore[no-any-return]

    def _open(self, patches_BPM: Tensor, **passed: Any) -> Tensor:
        return self.reading.opened(self.stack(patches_BPM.float(), causal=True, dtype=self.compute_dtype, **passed))


class _PatchDecoder(Decoder):
    """Caches of all three networks, the keys and values of the open patch's bytes, and what the last complete patch shows."""

    def __init__(self, model: PatchLM, prefix_T: Tensor) -> None:
        self._model, window = model, model.config.max_seq_len
        self._encoded, self._latent, self._decoded = (stack.open_cache(window + 1) for stack in model.stacks)
        self._patcher = Patcher(model.sizes.patching, model.entropy)
        self._recent = torch.full((1, MAX_ORDER - 1), START)
        empty, width = torch.zeros(1, 0, device=model.device), model.sizes.local_width
        self._open_keys = self._open_values = empty.view(1, model.sizes.local_heads, 0, width // model.sizes.local_heads)
        self._shown = torch.zeros(1, 1, 2 * model.sizes.slots * width, device=model.device)
        self._memory: MemoryState | None = None
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
        model = self._model
        # The position after the last byte of a full window is never predicted from these caches.
        symbols_T = symbols_T[: model.config.max_seq_len - self._encoded[0].length]
        if not len(symbols_T):
            return None
        inputs, before = symbols_T[None].to(model.device), self._recent.to(model.device)
        local = model._encode(inputs, before, memory=self._encoded)
        self._recent = torch.cat([self._recent, symbols_T[None]], dim=1)[:, -self._recent.shape[1] :]
        ends = [index for index, symbol in enumerate(symbols_T.tolist()) if self._patcher.push(symbol)]
        shown = self._shown_after(local, ends)
        complete_T = torch.zeros(len(symbols_T), dtype=torch.int64)
        complete_T[ends] = 1
        read = model.reading(local, shown[:, complete_T.cumsum(0)])
        self._shown = shown[:, -1:]
        return model.head(model._decode(read, memory=self._decoded)[0, -1]).float()  # type: ignore[no-any-return]

    def _shown_after(self, local_BTW: Tensor, ends: list[int]) -> Tensor:
        """[1, 1 + E, 2 s W] what the last complete patch shows, and then each one that ends here."""
        model, held = self._model, self._open_keys.shape[2]
        new = model.pooling.keys_values(local_BTW)
        keys, values = (torch.cat(pair, dim=2) for pair in zip((self._open_keys, self._open_values), new, strict=True))
        begin = held + ends[-1] + 1 if ends else 0
        self._open_keys, self._open_values = keys[:, :, begin:], values[:, :, begin:]
        if not ends:
            return self._shown
        place_S = torch.arange(keys.shape[2], device=keys.device)
        until_E1 = held + torch.tensor(ends, device=keys.device)[:, None]
        from_E1 = F.pad(until_E1[:-1] + 1, (0, 0, 1, 0))
        mask = (place_S >= from_E1) & (place_S <= until_E1)
        patches = model.pooling(local_BTW[:, ends], keys, values, mask[None, None])
        if model.memory is not None:
            patches, self._memory = model.memory(patches, state=self._memory)
        return torch.cat([self._shown, model._open(patches, memory=self._latent)], dim=1)


def _local_stack(config: ModelConfig, sizes: PatchSizes, num_layers: int) -> BlockStack:
    """Over bytes, in chunks that also see the one before."""
    return BlockStack(
        d_model=sizes.local_width,
        nhead=sizes.local_heads,
        num_layers=num_layers,
        dim_feedforward=4 * sizes.local_width,
        max_seq_len=config.max_seq_len + AT_ONCE,
        position=config.position,
        sinusoid_copies=config.sinusoid_copies,
        locality=Locality(sizes.local_chunk, sizes.local_chunk),
        running="reversible" if config.reversible else "checkpointed" if config.use_checkpoint else "plain",
    )
