"""softmax(QKᵀ/√D)V over all keys, by the kernel that is fastest where it runs.

In bf16 on CPU, explicit products in blocks of queries beat the fused kernel up to some two thousand positions: their backward
is 2–3 times faster, and a block of a causal sequence need not look at the keys after it. Elsewhere PyTorch's fused attention.

B batch, T query positions, S key positions, H heads, D head width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.layers.sizes import EXPLICIT_KEYS

# Above any logit that occurs (normalised Q, K bound them by √d) and still finite in bf16.
MASKED = -1e4
QUERY_BLOCK = 128


def attend(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, *, causal: bool, mask: Tensor | None = None) -> Tensor:
    """[B, H, T, D]. Causal: query t sees the keys up to S − T + t, unless a mask [T, S] or [B, 1, T, S] says which."""
    T, S = q_BHTD.shape[2], k_BHSD.shape[2]
    if prefers_explicit(q_BHTD) and S <= EXPLICIT_KEYS:
        if mask is not None or not causal:
            return _attend_explicitly(q_BHTD, k_BHSD, v_BHSD, None if mask is None else as_bias(mask, q_BHTD.dtype))
        return _attend_in_query_blocks(q_BHTD, k_BHSD, v_BHSD)
    if mask is None and causal and 1 < T != S:
        mask = causal_mask(T, S, q_BHTD.device)
    # SDPA's own causal flag counts from the first key, so it serves only where queries and keys coincide.
    return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, is_causal=causal and mask is None and T == S)


def prefers_explicit(x: Tensor) -> bool:
    """Whether explicit products are the faster way for tensors like this one."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def causal_mask(num_queries: int, num_keys: int, device: torch.device | None = None) -> Tensor:
    """[T, S] boolean, True where query t may see key s: s ≤ S − T + t."""
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device).tril(num_keys - num_queries)


def as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: 0 where seen, a very low number elsewhere."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, MASKED)


def _attend_in_query_blocks(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor) -> Tensor:
    """Causal; each block of queries with the keys that some of them see."""
    T, S = q_BHTD.shape[2], k_BHSD.shape[2]
    blocks = []
    for start in range(0, T, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, T)
        seen = S - T + end
        bias = _causal_bias(end - start, seen, q_BHTD.dtype)
        blocks.append(_attend_explicitly(q_BHTD[:, :, start:end], k_BHSD[:, :, :seen], v_BHSD[:, :, :seen], bias))
    return torch.cat(blocks, dim=2) if len(blocks) > 1 else blocks[0]


@lru_cache(maxsize=64)
def _causal_bias(num_queries: int, num_keys: int, dtype: torch.dtype) -> Tensor:
    """Made once for all layers and steps; at most some megabytes."""
    return as_bias(causal_mask(num_queries, num_keys), dtype)


def _attend_explicitly(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, bias: Tensor | None) -> Tensor:
    B, H, T, D = q_BHTD.shape
    q, k, v = (x.reshape(B * H, -1, x.shape[-1]) for x in (q_BHTD, k_BHSD, v_BHSD))
    bias = q.new_zeros(1, 1, 1) if bias is None else bias
    if bias.dim() == 4:
        bias = bias.expand(B, H, T, k.shape[1]).reshape(B * H, T, k.shape[1])
    weights = torch.baddbmm(bias, q, k.mT, alpha=D**-0.5).softmax(dim=-1)
    return torch.bmm(weights, v).view(B, H, T, v.shape[-1])
