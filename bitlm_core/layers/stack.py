"""The trunk that every architecture shares: two-stream blocks over positions, run in the way that is asked for.

    x1 = x2 = norm(embedding);   blocks;   norm(x1 + x2), or norm of the halting-weighted output

`plain`, `checkpointed` and `reversible` are ways to run the same weights: outputs and gradients agree. Plain keeps what
backward needs; checkpointed keeps the streams between blocks and computes the rest again; reversible keeps one pair.

B batch, T positions, S positions that may be seen, M model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bitlm_core.layers.attention import Sight
from bitlm_core.layers.block import Block, Layer
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.local_attention import document_mask
from bitlm_core.layers.memory import CarriedMemory, KeyValueCache, Locality, Memory
from bitlm_core.layers.norm import norm
from bitlm_core.layers.position import rotary_table, sinusoidal_table
from bitlm_core.layers.reversible import Streams, run_reversibly

AT_ONCE = 256
"""So many positions can be tried and taken back at once, whatever attention sees."""

Running = Literal["plain", "checkpointed", "reversible", "nested"]


class BlockStack(nn.Module):
    """`num_layers` blocks. Sinusoidal positions end at `max_seq_len`, rotary ones nowhere; `sinusoid_copies`: so many copies of
    a narrower sinusoid stand side by side.

    `running` and `compiled` (by `torch.compile`, each sub-block) may be changed at any time. `act_threshold`: None, no halting;
    `skips_halted`: layers that no position needs are not computed, which changes no result.
    """

    blocks: nn.ModuleList
    cos: Tensor
    sin: Tensor
    sinusoid: Tensor

    def __init__(
        self,
        *,
        d_model: int,
        nhead: int,
        num_layers: int,
        dim_feedforward: int,
        max_seq_len: int,
        dropout: float = 0.0,
        position: Literal["rotary", "sinusoidal"] = "rotary",
        sinusoid_copies: int = 1,
        differential: bool = False,
        locality: Locality | None = None,
        act_threshold: float | None = None,
        running: Running = "plain",
    ) -> None:
        super().__init__()
        self.d_model, self.dropout, self.position, self.sinusoid_copies = d_model, dropout, position, sinusoid_copies
        self.rotary_width = d_model // nhead // (2 if differential else 1)
        self.locality, self.act_threshold, self.running = locality, act_threshold, running
        self.compiled, self.skips_halted = False, True
        act = act_threshold is not None
        self.blocks = nn.ModuleList(
            Block(d_model, nhead, dim_feedforward, dropout, differential_layer=index + 1 if differential else None, act=act)
            for index in range(num_layers)
        )
        self.expand_positional_encoding(max_seq_len)

    def set_dropout(self, dropout: float) -> None:
        """Share of activations dropped in training from now on."""
        self.dropout = dropout
        for block in cast("list[Block]", list(self.blocks)):
            block.dropout = dropout

    def expand_positional_encoding(self, num_positions: int) -> None:
        """Positions 0 … num_positions − 1 from now on; those there were stay what they are."""
        device = self.cos.device if hasattr(self, "cos") else self.sinusoid.device if hasattr(self, "sinusoid") else None
        if self.position == "rotary":
            cos, sin = rotary_table(torch.arange(num_positions, device=device), self.rotary_width)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        else:
            table = sinusoidal_table(num_positions, self.d_model // self.sinusoid_copies).repeat(1, self.sinusoid_copies)
            self.register_buffer("sinusoid", table.to(device), persistent=False)

    def open_cache(self, capacity: int, locality: Locality | None = None) -> list[KeyValueCache]:
        """An empty cache per layer for one sequence of `capacity` positions, to be read without gradients.

        `locality`: another than the stack's, for a sequence that never ends.
        """
        near = locality or self.locality
        if near is not None:
            seen = near.chunk + near.overlap + AT_ONCE
            capacity = seen if locality else min(capacity, seen)
        return [KeyValueCache(capacity, near) for _ in self.blocks]

    def open_memory(self, locality: Locality) -> list[CarriedMemory]:
        """An empty memory per layer for the segments of one stream."""
        return [CarriedMemory(locality) for _ in self.blocks]

    def forward(
        self,
        x_BTM: Tensor,
        *,
        causal: bool,
        dtype: torch.dtype = torch.float32,
        memory: Sequence[Memory] | None = None,
        locality: Locality | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        documents: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Hidden states [B, T, M] in `dtype`, normalised. With a memory, the T positions follow those it already holds.

        `positions` [T] and `mask` [T, S] (True = may see; S counts from the first position of the sequence) replace the
        running order, for positions that form a tree. `documents` [B, S]: positions see only those of the same number.
        `locality`: another than the stack's. `trace` is filled in.
        """
        for layer_memory in memory or ():
            layer_memory.reserve(x_BTM.shape[1])
        start = memory[0].length if memory else 0
        end = start + x_BTM.shape[1]
        if positions is None:
            positions = torch.arange(start, end, device=x_BTM.device)
        near = locality or self.locality
        if near is not None and not memory and near.sees_all(end, causal=causal):
            near = None
        if mask is not None and near is not None and memory:
            mask = _local_mask(mask, positions, memory[0].first, start, near)
        if documents is not None and near is None:
            mask = document_mask(documents, x_BTM.shape[1], causal=causal)
        rotary = self._rotary(positions, end, dtype) if self.position == "rotary" else None
        sight = Sight(causal, start, rotary, near, mask, documents, trace.probe if trace else None)
        layers = self._layers(sight, memory, dtype)
        return self.closed(self._run(list(self.blocks), self.opened(x_BTM, positions), layers, trace), dtype)

    def opened(self, x_BTM: Tensor, positions: Tensor | None = None) -> Streams:
        """What the first block reads; `positions` as in `forward`."""
        if self.position == "sinusoidal":
            x_BTM = x_BTM + (self.sinusoid[: x_BTM.shape[1]] if positions is None else self.sinusoid[positions])
        x = self._drop(norm(x_BTM))
        if self.act_threshold is None:
            return Streams(x, x)
        zeros = torch.zeros(x.shape[:2], dtype=x.dtype, device=x.device)
        return Streams(x, x, torch.zeros_like(x), zeros, zeros)

    def run(self, streams: Streams, chosen: range, *, dtype: torch.dtype, documents: Tensor | None) -> Streams:
        """The streams after some of the blocks, causal and without halting: the share of one process in a training."""
        T, near = streams.x1.shape[1], self.locality
        near = None if near is not None and near.sees_all(T, causal=True) else near
        mask = document_mask(documents, T, causal=True) if documents is not None and near is None else None
        rotary = self._rotary(torch.arange(T, device=streams.x1.device), T, dtype) if self.position == "rotary" else None
        layers = self._layers(Sight(True, 0, rotary, near, mask, documents, None), None, dtype)
        return self._run([self.blocks[index] for index in chosen], streams, [layers[index] for index in chosen], None)

    @staticmethod
    def closed(streams: Streams, dtype: torch.dtype) -> Tensor:
        """The hidden states after the last block."""
        out = streams.x1 + streams.x2 if streams.out is None else streams.out
        return norm(out.to(dtype))

    def _layers(self, sight: Sight, memory: Sequence[Memory] | None, dtype: torch.dtype) -> list[Layer]:
        last = len(self.blocks) - 1
        replays = self.running in ("reversible", "nested")
        return [
            Layer(
                sight,
                memory[index] if memory else None,
                dtype,
                self.act_threshold or 1.0,
                last=index == last,
                replays=replays,
                compiled=self.compiled,
                skips=self.skips_halted,
            )
            for index in range(last + 1)
        ]

    def _run(self, chosen: list[nn.Module], streams: Streams, layers: list[Layer], trace: Trace | None) -> Streams:
        blocks, before = cast("list[Block]", chosen), streams.spent
        if torch.is_grad_enabled() and self.running in ("reversible", "nested"):
            streams = run_reversibly(blocks, layers, streams, nested=self.running == "nested")
        else:
            streams = self._run_storing(blocks, streams, layers)
        if trace is not None and before is not None and streams.remainder is not None:
            computed = [layer for layer in layers if layer.probability is not None and layer.reached is not None]
            probabilities = [cast(Tensor, layer.probability) for layer in computed]
            trace.note(probabilities, [cast(Tensor, layer.reached) for layer in computed], streams.remainder, len(layers))
        return streams

    def _run_storing(self, blocks: list[Block], streams: Streams, layers: list[Layer]) -> Streams:
        checkpointed = torch.is_grad_enabled() and self.running == "checkpointed"
        for block, layer in zip(blocks, layers, strict=True):
            if layer.all_halted(streams):
                block.remember(streams, layer)
            elif checkpointed:
                streams = checkpoint(block, streams, layer, use_reentrant=False)
            else:
                streams = block(streams, layer)
        return streams

    def _rotary(self, positions: Tensor, end: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if end <= len(self.cos):
            return self.cos[positions].to(dtype), self.sin[positions].to(dtype)
        cos, sin = rotary_table(positions, self.rotary_width)
        return cos.to(dtype), sin.to(dtype)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def _local_mask(mask: Tensor, positions: Tensor, first: int, start: int, near: Locality) -> Tensor:
    """A mask over all S positions, of which those before `first` were forgotten, and what is too far away is not seen."""
    keys = torch.cat([torch.arange(first, start, device=mask.device), positions])
    seen_from = positions // near.chunk * near.chunk - near.overlap
    return mask[:, first:] & (keys >= seen_from[:, None])
