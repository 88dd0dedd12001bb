"""Attention in chunks: cost and memory linear in the length.

Queries are cut into chunks; the keys of a chunk are gathered beside them (`overlap` before it, itself, and `overlap` after it
where nothing is causal), so that all chunks are one batch of small dense products.

B batch, T query positions, S key positions, H heads, D head width, n chunks of C queries, W keys beside a chunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.layers.attend import as_bias, attend, prefers_explicit
from bitlm_core.layers.memory import Locality


def attend_locally(
    q_BHTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    locality: Locality,
    *,
    causal: bool,
    start: int,
    documents: Tensor | None = None,
) -> Tensor:
    """[B, H, T, D]. Queries stand at start … start + T − 1, the S keys end at the same place.

    `documents` [B, S]: a query sees only keys whose number is its own.
    """
    T, C = q_BHTD.shape[2], locality.chunk
    first_key, edge = start + T - k_BHSD.shape[2], (start // C + 1) * C
    if start + T <= edge:  # all in one chunk
        begin = max(0, locality.first_seen(start) - first_key)
        mask = None if documents is None else document_mask(documents[:, begin:], T, causal=causal)
        return attend(q_BHTD, k_BHSD[:, :, begin:], v_BHSD[:, :, begin:], causal=causal, mask=mask)
    if not causal or T >= C:
        return _attend_in_chunks(q_BHTD, k_BHSD, v_BHSD, locality, causal=causal, start=start, documents=documents)
    # A few positions across an edge are not worth two padded chunks.
    return torch.cat(
        [
            attend_locally(
                q_BHTD[:, :, begin - start : end - start],
                k_BHSD[:, :, : end - first_key],
                v_BHSD[:, :, : end - first_key],
                locality,
                causal=True,
                start=begin,
                documents=None if documents is None else documents[:, : end - first_key],
            )
            for begin, end in ((start, edge), (edge, start + T))
        ],
        dim=2,
    )


def _attend_in_chunks(
    q_BHTD: Tensor,
    k_BHSD: Tensor,
    v_BHSD: Tensor,
    locality: Locality,
    *,
    causal: bool,
    start: int,
    documents: Tensor | None,
) -> Tensor:
    """The same for positions in several chunks, padded to whole ones."""
    T, C = q_BHTD.shape[2], locality.chunk
    first_key, before = start + T - k_BHSD.shape[2], start % C
    n = -(-(before + T) // C)
    begin = start - before - locality.overlap
    end = start - before + n * C + (0 if causal else locality.overlap)
    q = _cut(q_BHTD, start, start - before, start - before + n * C).view(*q_BHTD.shape[:2], n, C, -1)
    k, v = (_beside(_cut(x, first_key, begin, end), n, locality, causal=causal) for x in (k_BHSD, v_BHSD))
    mask = _block_mask(n, locality, begin=begin, length=start + T, causal=causal, device=q.device)
    if documents is not None:
        mask = mask & _same_document(documents, n, locality, start, first_key, begin, end, causal=causal)
    y = _attend_blocks(q, k, v, mask)
    return y.flatten(2, 3)[:, :, before : before + T]


def document_mask(documents_BS: Tensor, num_queries: int, *, causal: bool) -> Tensor:
    """[B, 1, T, S] True where a query, of which the last keys are the own, sees a key of its document."""
    S = documents_BS.shape[1]
    same = documents_BS[:, None, S - num_queries :, None] == documents_BS[:, None, None, :]
    return same.tril(S - num_queries) if causal else same


def _cut(x_BHSD: Tensor, first: int, begin: int, end: int) -> Tensor:
    """Positions begin … end − 1 of what starts at position `first`; zeros where there are none."""
    size = x_BHSD.shape[2]
    held = x_BHSD[:, :, max(0, begin - first) : max(0, end - first)]
    return F.pad(held, (0, 0, max(0, first - begin), max(0, end - first - size)))


def _beside(x_BHSD: Tensor, n: int, locality: Locality, *, causal: bool) -> Tensor:
    """[B, H, overlap + n·C (+ overlap), D] → [B, H, n, W, D]: what each chunk may see."""
    C, overlap = locality.chunk, locality.overlap
    own = x_BHSD[:, :, overlap : overlap + n * C].reshape(*x_BHSD.shape[:2], n, C, -1)
    parts = [own]
    if overlap:
        # A chunk's past is the end of the chunk before; that of the first is what was read before it.
        past = torch.cat([x_BHSD[:, :, None, :overlap], own[:, :, :-1, C - overlap :]], dim=2)
        parts = [past, own]
        if not causal:
            parts.append(torch.cat([own[:, :, 1:, :overlap], x_BHSD[:, :, None, overlap + n * C :]], dim=2))
    return torch.cat(parts, dim=3) if len(parts) > 1 else own


def _block_mask(n: int, locality: Locality, *, begin: int, length: int, causal: bool, device: torch.device) -> Tensor:
    """[n, C, W] True where seen. `begin`: position of the first key beside the first chunk (negative ones do not exist)."""
    C, overlap = locality.chunk, locality.overlap
    chunk = begin + C * torch.arange(n, device=device)[:, None, None]
    key = chunk + torch.arange(overlap + C + (0 if causal else overlap), device=device)
    query = chunk + overlap + torch.arange(C, device=device)[:, None]
    seen = (key >= 0) & ((key <= query) if causal else (key < length))
    # Queries beyond the end are cut off again, but a row that sees nothing would be NaN.
    return seen | (key == query)


def _same_document(
    documents_BS: Tensor, n: int, locality: Locality, start: int, first: int, begin: int, end: int, *, causal: bool
) -> Tensor:
    """[B, 1, n, C, W]."""
    numbers = (documents_BS + 1)[:, None, :, None]  # so that what does not exist has no document's number
    before = start % locality.chunk
    query = _cut(numbers, first, start - before, start - before + n * locality.chunk)
    query = query.view(len(query), 1, n, locality.chunk, 1)
    key = _beside(_cut(numbers, first, begin, end), n, locality, causal=causal)
    return query == key.mT


def _attend_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """[B, H, n, C, D] × [B, H, n, W, D], mask [n, C, W] or [B, 1, n, C, W] → [B, H, n, C, D]."""
    B, H, n, C, D = q.shape
    if prefers_explicit(q):
        scores = torch.matmul(q * D**-0.5, k.mT).add_(as_bias(mask, q.dtype))
        return torch.matmul(scores.softmax(dim=-1), v)
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    if mask.dim() == 5:
        mask = mask.expand(B, H, n, C, mask.shape[-1]).flatten(0, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).view(B, H, n, C, -1)
