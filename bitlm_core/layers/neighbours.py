"""What stands beside a byte that is to be told from both sides: its neighbours one by one, and some of them together.

A causal network reads to the right only, so its n-grams end at their position. Where bytes on both sides are known, those after
say as much as those before. Each place relative to the byte has a table of its own, which is what a small convolution over
one-hot symbols computes; groups of places (the byte before and the byte after, say) are hashed as n-grams are.

B batch, T bytes, M model width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.embedding import NUM_SYMBOLS, START, hashed_row, hashed_with
from bitlm_core.layers.sizes import rows_of


def beside(symbols_BT: Tensor, documents_BT: Tensor | None, places: tuple[int, ...]) -> dict[int, Tensor]:
    """[B, T + 1] the symbol at each of `places`, relative to every byte and to the one after the last.

    Beyond the edges of the row or of the byte's document there is nothing but start symbols.
    """
    T, reach = symbols_BT.shape[1], max(abs(place) for place in places)
    line = F.pad(symbols_BT, (reach, reach + 1), value=START)
    found = {place: line[:, reach + place : reach + place + T + 1] for place in places}
    if documents_BT is not None:
        numbers = torch.cat([documents_BT[:, :1].expand(-1, reach), documents_BT], dim=1)
        numbers = torch.cat([numbers, documents_BT[:, -1:].expand(-1, reach + 1)], dim=1)
        own = numbers[:, reach : reach + T + 1]
        for place, symbols in found.items():
            found[place] = symbols.masked_fill(numbers[:, reach + place : reach + place + T + 1] != own, START)
    return found


class NeighbourEmbedding(nn.Module):
    """Sum over places of a row for the symbol there → [B, T + 1, M]."""

    def __init__(self, d_model: int, places: tuple[int, ...]) -> None:
        super().__init__()
        self.places = places
        self.weight = nn.Parameter(torch.empty(len(places) * NUM_SYMBOLS, d_model).normal_(std=0.3))

    def forward(self, found: dict[int, Tensor]) -> Tensor:
        rows = torch.stack([found[place] + index * NUM_SYMBOLS for index, place in enumerate(self.places)], dim=-1)
        return F.embedding_bag(rows.flatten(0, 1), self.weight, mode="sum").view(*rows.shape[:2], -1)


class GroupEmbedding(nn.Module):
    """Sum over groups of places of the row that the symbols there hash to → [B, T + 1, M].

    Rows begin at zero and gradients are sparse, as those of n-grams.
    """

    def __init__(self, d_model: int, rows: int, groups: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.groups = groups
        self.rows = [rows_of(group, rows) for group in groups]
        self.weight = nn.Parameter(torch.zeros(sum(self.rows), d_model))

    def forward(self, found: dict[int, Tensor]) -> Tensor:
        places, before = [], 0
        for group, rows in zip(self.groups, self.rows, strict=True):
            hashed = found[group[0]] + 1
            for place in group[1:]:
                hashed = hashed_with(hashed, found[place])
            places.append(hashed_row(hashed, rows) + before)
            before += rows
        return F.embedding(torch.stack(places, dim=2), self.weight, sparse=True).sum(dim=2)
