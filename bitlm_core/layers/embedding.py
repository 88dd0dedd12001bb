"""Embeddings of bytes as sums of their bits.

e(byte) = E_byte[byte] + Σ_i ±E_bit[i], + for a 1 and − for a 0, over the 8 data bits (most significant first) and the
even-parity bit. Bytes that share bits share what is learned of them. Two rows have no bits: *mask* (a byte hidden from a
diffusion model) and *start* (the position before the first byte). A byte of which some bits are known is the mask and the
sum of those; its parity is not known.

The 258 × M table is built once per call; looking a byte up is then one gather.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASK = 256
START = 257
NUM_SYMBOLS = 258
_ROLLING = 1_000_003
_GOLDEN = -7_046_029_254_386_353_131  # 2⁶⁴ / φ, as a signed number: multiplicative hashing, the upper bits are the good ones


def bit_signs() -> Tensor:
    """[258, 9]: +1 / −1 for the data bits and parity of each byte; zero rows for mask and start."""
    data = (torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1
    parity = data.sum(dim=1, keepdim=True) & 1
    signs = torch.cat([data, parity], dim=1).float() * 2 - 1
    return F.pad(signs, (0, 0, 0, NUM_SYMBOLS - 256))


def signs_of_known(data_BT: Tensor, known_BT: Tensor) -> Tensor:
    """[B, T, 8]: +1 / −1 for the bits of each byte that are known, most significant first, 0 for the others."""
    shift = torch.arange(7, -1, -1, device=data_BT.device)
    known, ones = ((of[..., None] >> shift) & 1 for of in (known_BT, data_BT))
    return known * (2 * ones - 1)


class ByteEmbedding(nn.Module):
    """Symbols [B, T] in 0 … 257 → [B, T, M]."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.byte = nn.Parameter(torch.empty(NUM_SYMBOLS, d_model).normal_(std=0.7))
        self.bit = nn.Parameter(torch.empty(9, d_model).normal_(std=0.3))
        self.register_buffer("signs", bit_signs(), persistent=False)

    def forward(self, symbols_BT: Tensor) -> Tensor:
        table = torch.addmm(self.byte, self.signs, self.bit)  # type: ignore[arg-type]
        return F.embedding(symbols_BT, table)

    def of_bits(self, signs_BT8: Tensor, symbols_BT: Tensor) -> Tensor:
        """[B, T, M] what the known bits add to symbols that are masks."""
        return (signs_BT8 * (symbols_BT == MASK)[..., None]).to(self.bit.dtype) @ self.bit[:8]


def hashed_with(hashed: Tensor, symbols: Tensor) -> Tensor:
    """The hash of what was hashed before and one symbol more."""
    return hashed * _ROLLING + symbols + 1


def hashed_row(hashed: Tensor, rows: int) -> Tensor:
    """Which of so many rows a hash means."""
    return (((hashed * _GOLDEN) >> 32) & 0x7FFF_FFFF) % rows


class NgramEmbedding(nn.Module):
    """Sum of the rows that the last 2, 3, … symbols hash to, one table per length: what a short context says by itself.

    Windows end at their position, and what stands before a start symbol is all start. Rows begin at zero. Gradients are
    sparse: a step touches only the rows it met (`training.optim.RowAdagrad`). `dropout`: the share of rows left out in
    training, each as a whole. The rows of long windows are met so seldom that they are the first to know data by heart.
    """

    def __init__(self, d_model: int, rows: int, orders: tuple[int, ...]) -> None:
        super().__init__()
        self.rows, self.orders, self.dropout = rows, orders, 0.0
        self.weight = nn.Parameter(torch.zeros(len(orders) * rows, d_model))

    def forward(self, symbols_BT: Tensor, before_BN: Tensor | None = None) -> Tensor:
        """[B, T] symbols → [B, T, M]. `before`: the symbols before the first, as many as the longest window needs."""
        rows = F.embedding(self._places(symbols_BT, before_BN), self.weight, sparse=True)
        if self.dropout and self.training:
            rows = rows * F.dropout(rows.new_ones(rows.shape[:-1]), self.dropout)[..., None]
        return rows.sum(dim=2)

    def _places(self, symbols_BT: Tensor, before_BN: Tensor | None = None) -> Tensor:
        """[B, T, orders] rows of the table."""
        T, reach = symbols_BT.shape[1], max(self.orders) - 1
        if before_BN is None:
            before_BN = symbols_BT.new_full((len(symbols_BT), reach), START)
        line = torch.cat([before_BN[:, -reach:], symbols_BT], dim=1)
        places: list[Tensor] = []
        last, hashed = symbols_BT, symbols_BT + 1
        for back in range(1, reach + 1):
            last = torch.where(last == START, START, line[:, reach - back : reach - back + T])
            hashed = hashed_with(hashed, last)
            if back + 1 in self.orders:
                places.append(hashed_row(hashed, self.rows) + len(places) * self.rows)
        return torch.stack(places, dim=2)


class BitEmbedding(nn.Module):
    """Symbols [B, T] in {0, 1, 2 = mask, 3 = start} and phases [T] in 0 … 8 → [B, T, M].

    The phase is the index, in its 9-bit group, of the bit to be predicted: without it a bit model learns next to nothing.
    """

    MASK = 2
    START = 3

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.bit = nn.Parameter(torch.empty(4, d_model).normal_(std=0.5))
        self.phase = nn.Parameter(torch.empty(9, d_model).normal_(std=0.5))

    def forward(self, symbols_BT: Tensor, phases_T: Tensor) -> Tensor:
        return F.embedding(symbols_BT, self.bit) + F.embedding(phases_T, self.phase)
