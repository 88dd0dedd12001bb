"""A look at how a pass computes: attention maps at a few queries, and how large activations are. For telemetry.

The whole map of a layer is never made: of `num_queries` evenly spread queries the rows are computed beside the pass, from the
same queries and keys, and only the entropy of each row is kept. A differential pair has two maps, each of which counts as one.

B batch, T query positions, S key positions, n sampled queries, H heads, D head width, M model width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bitlm_core.layers.memory import Locality


@dataclass
class Probe:
    """Filled in by the layers of one pass, in their order; `num_queries` ≥ 1 rows of each map are looked at.

    entropy [B] per layer: mean over heads and sampled queries of −Σ a ln a, nats, 0 … ln of the keys that are seen.
    mean, variance [B] per layer: of the layer's input over positions and width.
    """

    num_queries: int = 16
    entropy: list[Tensor] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)
    variance: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def note(self, x_BTM: Tensor, q_BHTD: Tensor, k_BHSD: Tensor, seen: Seen) -> None:
        """Look at one layer: its input, queries and keys, and which keys a query sees."""
        T, S = q_BHTD.shape[2], k_BHSD.shape[2]
        queries = torch.linspace(0, T - 1, min(self.num_queries, T), device=q_BHTD.device).round().long()
        scores = q_BHTD[:, :, queries].float() @ k_BHSD.float().mT * q_BHTD.shape[-1] ** -0.5
        log_map = scores.masked_fill(~seen.rows(queries, T, S), -torch.inf).log_softmax(dim=-1)
        row_entropy = -(log_map.exp() * log_map.clamp(min=-1e4)).sum(dim=-1)  # 0 · ln 0 = 0
        x = x_BTM.flatten(1).float()
        self.entropy.append(row_entropy.mean(dim=(1, 2)))
        self.mean.append(x.mean(dim=1))
        self.variance.append(x.var(dim=1, unbiased=False))


@dataclass(frozen=True)
class Seen:
    """Which keys a query may see; as `Sight` has it."""

    causal: bool
    start: int
    locality: Locality | None
    mask: Tensor | None
    documents: Tensor | None

    def rows(self, queries: Tensor, num_queries: int, num_keys: int) -> Tensor:
        """[n, S] or [B, 1, n, S] True where seen: the rows `queries` of the T × S map whose last keys are the queries' own."""
        if self.mask is not None:
            return self.mask[..., queries, :]
        t = (self.start + queries)[:, None]
        s = torch.arange(self.start + num_queries - num_keys, self.start + num_queries, device=queries.device)
        seen = (s <= t) if self.causal else (s <= s.max()).expand(len(t), num_keys)
        if self.locality is not None:
            chunk, overlap = self.locality.chunk, self.locality.overlap
            seen = seen & (s >= t // chunk * chunk - overlap) & (s < t // chunk * chunk + chunk + overlap)
        if self.documents is None:
            return seen
        own = self.documents[:, num_keys - num_queries + queries]
        return seen & (own[:, None, :, None] == self.documents[:, None, None, :])
