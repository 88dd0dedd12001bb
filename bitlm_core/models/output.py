"""The byte tree: how 255 node logits are the exact distribution of one byte, bit by bit.

Node 1 is the root; node (1 << k) | prefix holds the logit of "bit k is 1" after the first k bits `prefix` (most
significant first). By the chain rule log p(byte) = Σ_k log p(bit k | bits before it), so the 256 probabilities sum to 1
whatever the logits are. Arrays of node logits have 256 entries; entry 0 is unused. The parity bit follows from the
others, has probability 1 and costs nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def path_bits(bytes_: Tensor) -> Tensor:
    """[...] bytes → [..., 8] bits, most significant first."""
    return (bytes_[..., None] >> torch.arange(7, -1, -1, device=bytes_.device)) & 1


def path_nodes(bytes_: Tensor) -> Tensor:
    """[...] bytes → [..., 8] the nodes on the way from the root to each byte."""
    depth = torch.arange(8, device=bytes_.device)
    return (bytes_[..., None] >> (8 - depth)) | (1 << depth)


def path_logits(node_logits: Tensor, bytes_: Tensor) -> Tensor:
    """[..., 256] node logits and [...] bytes → [..., 8] logits of each bit of the byte being 1, given those before."""
    return node_logits.gather(-1, path_nodes(bytes_))


def path_nats(logits: Tensor, bytes_: Tensor) -> Tensor:
    """[..., 8] path logits and [...] bytes → [...] −ln p(byte), in nats."""
    bits = path_bits(bytes_).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(dim=-1)


def conditioned_log_probs(node_logits: Tensor, bytes_: Tensor, known: Tensor) -> Tensor:
    """[..., 256] node logits, [...] bytes and which of their bits are known (bit 7 first) → [..., 256] ln p(byte).

    Bytes that contradict a known bit have probability 0; the others share 1. What `bytes_` holds in unknown bits is not read.
    """
    log_probs = byte_log_probs(node_logits)
    every = torch.arange(256, device=node_logits.device)
    contradicts = ((every ^ bytes_[..., None]) & known[..., None]) != 0
    return log_probs.masked_fill(contradicts, -torch.inf).log_softmax(dim=-1)


def byte_log_probs(node_logits: Tensor) -> Tensor:
    """[..., 256] node logits → [..., 256] ln p(byte)."""
    log_probs = torch.zeros_like(node_logits[..., :1])
    for depth in range(8):
        level = node_logits[..., 1 << depth : 2 << depth]
        both = torch.stack([log_probs + F.logsigmoid(-level), log_probs + F.logsigmoid(level)], dim=-1)
        log_probs = both.flatten(-2)
    return log_probs
