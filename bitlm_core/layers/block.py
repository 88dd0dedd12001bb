"""A stack of residual blocks with positions: the trunk that every architecture shares.

x ← x + attention(x);  x ← x + feedforward(x);  at the end norm(x).

B batch, T positions, M model width.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.attention import KeyValueCache, SelfAttention
from bitlm_core.layers.feedforward import FeedForward
from bitlm_core.layers.norm import norm
from bitlm_core.layers.position import rotary_table, sinusoidal_table


class Block(nn.Module):
    """Two sub-blocks, each with its own norm inside, so that other ways of running them can share the weights."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, nhead)
        self.feedforward = FeedForward(d_model, dim_feedforward)


class BlockStack(nn.Module):
    """`num_layers` blocks over positions 0 … max_seq_len − 1."""

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
        dropout: float,
        position: Literal["rotary", "sinusoidal"],
    ) -> None:
        super().__init__()
        self.nhead, self.head_dim, self.dropout, self.position = nhead, d_model // nhead, dropout, position
        self.blocks = nn.ModuleList(Block(d_model, nhead, dim_feedforward) for _ in range(num_layers))
        if position == "rotary":
            cos, sin = rotary_table(max_seq_len, d_model // nhead)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        else:
            self.register_buffer("sinusoid", sinusoidal_table(max_seq_len, d_model), persistent=False)

    def open_cache(self, capacity: int) -> list[KeyValueCache]:
        """An empty cache for one sequence of up to `capacity` positions."""
        return [KeyValueCache(1, self.nhead, capacity, self.head_dim) for _ in self.blocks]

    def forward(
        self,
        x_BTM: Tensor,
        *,
        causal: bool,
        cache: list[KeyValueCache] | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [B, T, M], normalised. With a cache, the T positions follow those it already holds.

        `positions` [T] and `mask` [T, S] (True = may see; S counts cached positions first) replace the running order, for
        positions that form a tree.
        """
        if positions is None:
            start = cache[0].length if cache else 0
            positions = torch.arange(start, start + x_BTM.shape[1])
        rotary = None
        if self.position == "rotary":
            rotary = (self.cos[positions].to(x_BTM.dtype), self.sin[positions].to(x_BTM.dtype))
        else:
            x_BTM = x_BTM + self.sinusoid[positions].to(x_BTM.dtype)
        x_BTM = self._drop(norm(x_BTM))
        for index, block in enumerate(cast(list[Block], self.blocks)):
            added = block.attention(x_BTM, causal=causal, rotary=rotary, cache=cache[index] if cache else None, mask=mask)
            x_BTM = x_BTM + self._drop(added)
            x_BTM = x_BTM + self._drop(block.feedforward(x_BTM))
        return norm(x_BTM)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x
