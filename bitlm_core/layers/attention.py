"""Multi-head self-attention: full or in chunks, plain or differential, with rotary positions and a past.

    out = softmax(Q Kᵀ / √d + mask) V,     Q and K normalised per head (arXiv 2010.04245)

Differential (arXiv 2410.05258): heads come in pairs that share one V of twice their width, and
out = (softmax(Q₁K₁ᵀ/√d) − λ softmax(Q₂K₂ᵀ/√d)) V, which cancels what both attend to.

B batch, T query positions, S key positions (earlier ones first), H heads, D head width, M model width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.attend import attend
from bitlm_core.layers.linear import Linear
from bitlm_core.layers.local_attention import attend_locally
from bitlm_core.layers.memory import Locality, Memory
from bitlm_core.layers.norm import norm
from bitlm_core.layers.position import NormedRotary
from bitlm_core.layers.probe import Probe, Seen


@dataclass(frozen=True)
class Sight:
    """What the positions of one pass may see; the same for all layers.

    start: place of the first position in its stream. rotary: cos and sin of the positions, or None. mask: True where seen,
    [T, S] or [B, 1, T, S], instead of the running order. documents: [B, S] numbers; only what has the same one is seen.
    probe: is shown each layer, if there is one.
    """

    causal: bool
    start: int = 0
    rotary: tuple[Tensor, Tensor] | None = None
    locality: Locality | None = None
    mask: Tensor | None = None
    documents: Tensor | None = None
    probe: Probe | None = None


class SelfAttention(nn.Module):
    """Pre-normalised attention sub-block: returns what is added to a residual stream.

    `differential_layer`: the layer's number l = 1 … L makes it differential; None, plain. `nhead` heads of M / nhead in
    either case: a differential head is a pair of half that width.
    """

    def __init__(self, d_model: int, nhead: int, *, differential_layer: int | None = None) -> None:
        super().__init__()
        self.nhead, self.head_dim = nhead, d_model // nhead
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model, zero_init=True)
        self.difference: Difference | None = None
        if differential_layer is not None:
            self.difference = Difference(self.head_dim // 2, differential_layer)

    def forward(self, x_BTM: Tensor, sight: Sight, memory: Memory | None = None) -> Tensor:
        q_BHTD, k_BHSD, v_BHSD = self._project(x_BTM, sight, memory)
        if sight.probe is not None:
            seen = Seen(sight.causal, sight.start, sight.locality, sight.mask, sight.documents)
            sight.probe.note(x_BTM, q_BHTD, k_BHSD, seen)
        if self.difference is not None:
            v_BHSD = v_BHSD.repeat_interleave(2, dim=1)
        near = sight.locality if sight.mask is None else None
        if near is not None:
            y_BHTD = attend_locally(
                q_BHTD, k_BHSD, v_BHSD, near, causal=sight.causal, start=sight.start, documents=sight.documents
            )
        else:
            y_BHTD = attend(q_BHTD, k_BHSD, v_BHSD, causal=sight.causal, mask=sight.mask)
        if self.difference is not None:
            y_BHTD = self.difference(y_BHTD)
        out: Tensor = self.out(y_BHTD.transpose(1, 2).flatten(2))
        return out

    def remember(self, x_BTM: Tensor, sight: Sight, memory: Memory) -> None:
        """Append the keys and values of positions whose own output is not wanted any more."""
        self._project(x_BTM, sight, memory)

    def _project(self, x_BTM: Tensor, sight: Sight, memory: Memory | None) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = x_BTM.shape
        pairs = 1 if self.difference is None else 2
        qk, v = self.qkv(norm(x_BTM)).split([2 * self.nhead * self.head_dim, self.nhead * self.head_dim], dim=-1)
        qk = qk.view(B, T, 2 * self.nhead * pairs, self.head_dim // pairs)
        if sight.rotary is not None:
            q_BHTD, k_BHTD = NormedRotary.apply(qk, *sight.rotary)  # type: ignore[no-untyped-call]
        else:
            q_BHTD, k_BHTD = norm(qk).transpose(1, 2).chunk(2, dim=1)
        v_BHTD = v.view(B, T, self.nhead, self.head_dim).transpose(1, 2)
        return (q_BHTD, *memory.append(k_BHTD, v_BHTD)) if memory is not None else (q_BHTD, k_BHTD, v_BHTD)


class Difference(nn.Module):
    """What is made of a pair of heads: (y₁ − λ y₂), normalised per head (RMS) and scaled by 1 − λ_init.

    λ = exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + λ_init, shared by the heads of a layer; λ_init = 0.8 − 0.6 e^(−0.3 (l − 1)).
    """

    def __init__(self, head_dim: int, layer: int) -> None:
        super().__init__()
        self.init = 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))
        self.vectors = nn.Parameter(torch.empty(4, head_dim).normal_(std=0.1))
        """λ_q1, λ_k1, λ_q2, λ_k2."""

    def weight(self) -> Tensor:
        """λ, a scalar in fp32."""
        q1, k1, q2, k2 = self.vectors
        difference: Tensor = (q1 @ k1).exp() - (q2 @ k2).exp()
        return difference + self.init

    def forward(self, y_BHTD: Tensor) -> Tensor:
        """[B, 2H, T, D], the heads of a pair side by side → [B, H, T, D]."""
        y = y_BHTD[:, 0::2] - self.weight().to(y_BHTD.dtype) * y_BHTD[:, 1::2]
        return F.rms_norm(y, (y.shape[-1],)) * (1 - self.init)
