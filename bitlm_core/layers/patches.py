"""Between bytes and patches: how a patch is made of its own bytes, and how bytes see the patch before theirs.

    pooling   x_p = W_o attention(q = last byte of p, keys and values = bytes of p) + W_r (last byte of p)
    reading   h_t + W_o attention(q = h_t, keys and values = `slots` vectors of the last patch that is complete at t)

As in the byte-latent transformer (arXiv 2412.09871, sections 3.2 and 3.3), queries and keys are normalised per head. A patch is
complete where it is known that the next symbol starts another one; that shift by one patch is what makes the whole causal.

B batch, T symbols, P patches, H heads, D head width, W width of the streams over bytes, M width of the patches, s slots.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlm_core.layers.attend import attend
from bitlm_core.layers.linear import Linear
from bitlm_core.layers.norm import norm


class Cut(NamedTuple):
    """Rows of symbols as patches, numbered 0, 1, … in each row; rows with fewer than P are filled up with their last one.

    own [B, T]: the patch of each symbol. complete [B, T]: the last one that is complete when the symbol was read. last [B, P]:
    where each patch ends. num_patches: P.
    """

    own: Tensor
    complete: Tensor
    last: Tensor
    num_patches: int

    def padded(self, multiple: int) -> Cut:
        """With a whole multiple of patches; those too many end at the last symbol, like all that are filled up."""
        count = -(-self.num_patches // multiple) * multiple
        last_BP = F.pad(self.last, (0, count - self.num_patches), value=self.own.shape[1] - 1)
        return self._replace(last=last_BP, num_patches=count)

    @property
    def starts(self) -> Tensor:
        """[B, T − 1] whether each symbol but the first starts a patch."""
        return self.own[:, 1:] != self.own[:, :-1]

    def real(self, begin: int, end: int) -> Tensor:
        """[B, end − begin] which of these patches the rows have: the others fill them up."""
        return torch.arange(begin, end, device=self.own.device) <= self.own[:, -1:]

    def mask(self, begin: int, end: int) -> Tensor:
        """[B, 1, P, T] True where a symbol is of one of the patches begin … end − 1. Those filled up see the last symbol."""
        patch_P1 = torch.arange(begin, end, device=self.own.device)[:, None]
        mask_BPT = self.own[:, None] == patch_P1
        mask_BPT[..., -1] |= self.last[:, begin:end] == self.own.shape[1] - 1
        return mask_BPT[:, None]


def cut_at(starts_BT: Tensor, ends_BT: Tensor) -> Cut:
    """`starts`: True where a patch starts, so that the first symbol does. `ends`: True where, from what was read up to the
    symbol, the next one starts a patch."""
    own_BT = starts_BT.cumsum(dim=1) - 1
    complete_BT = own_BT - 1 + ends_BT.long()
    T, count = own_BT.shape[1], int(own_BT[:, -1].max()) + 1
    last_BP = torch.full((len(own_BT), count), T - 1, device=own_BT.device)
    before = starts_BT[:, 1:].nonzero(as_tuple=True)  # positions before which something starts
    last_BP[before[0], own_BT[before]] = before[1]
    return Cut(own_BT, complete_BT, last_BP, count)


class PatchPooling(nn.Module):
    """[B, T, W] hidden states of bytes → [B, P, M]."""

    def __init__(self, width: int, d_model: int, nhead: int) -> None:
        super().__init__()
        self.nhead = nhead
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.out = Linear(width, d_model)
        self.last = Linear(width, d_model)

    def keys_values(self, hidden_BTW: Tensor) -> tuple[Tensor, Tensor]:
        """[B, H, T, D] each."""
        key, value = self.key_value(hidden_BTW).chunk(2, dim=-1)
        return norm(_heads(key, self.nhead)), _heads(value, self.nhead)

    def forward(self, last_BPW: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, mask: Tensor | None) -> Tensor:
        """`last`: the hidden state of each patch's last byte. `mask` [B, 1, P, T]: its own bytes; None: all there are."""
        q_BHPD = norm(_heads(self.query(last_BPW), self.nhead))
        pooled_BPW = attend(q_BHPD, k_BHTD, v_BHTD, causal=False, mask=mask).transpose(1, 2).flatten(2)
        return self.out(pooled_BPW) + self.last(last_BPW)  # type: ignore[no-any-return]


class PatchReading(nn.Module):
    """Lets bytes attend to the slots of one patch each."""

    def __init__(self, width: int, d_model: int, nhead: int, slots: int) -> None:
        super().__init__()
        self.nhead, self.slots, self.width = nhead, slots, width
        self.query = Linear(width, width)
        self.key_value = Linear(d_model, 2 * slots * width)
        self.out = Linear(width, width)

    def opened(self, latent_BPM: Tensor) -> Tensor:
        """[B, P, M] → [B, P, 2 s W]: the keys, normalised, and values of each patch's slots."""
        key, value = self.key_value(latent_BPM).chunk(2, dim=-1)
        D = self.width // self.nhead
        return torch.cat([norm(key.unflatten(-1, (-1, D))).flatten(-2), value], dim=-1)

    def forward(self, hidden_BTW: Tensor, slots_BTW: Tensor) -> Tensor:
        """`slots` [B, T, 2 s W]: of the patch that each byte sees."""
        B, T, W = hidden_BTW.shape
        key, value = slots_BTW.view(B, T, 2, self.slots, self.nhead, W // self.nhead).unbind(2)
        q = norm(self.query(hidden_BTW).view(B, T, 1, self.nhead, -1))
        weights = ((q * key).sum(-1, keepdim=True) * q.shape[-1] ** -0.5).softmax(dim=2)
        return hidden_BTW + self.out((weights * value).sum(2).flatten(2))  # type: ignore[no-any-return]


def gathered(shown_BPE: Tensor, patch_BT: Tensor) -> Tensor:
    """[B, T, E] of each byte the row that its patch shows, of whatever width E."""
    B, P, E = shown_BPE.shape
    first_B1 = P * torch.arange(B, device=patch_BT.device)[:, None]
    return F.embedding(patch_BT + first_B1, shown_BPE.reshape(B * P, E))


class MemoryState(NamedTuple):
    """held [B, M]: of the complete spans. document [B]: whose that is. begun [B, N, M]: the patches of the span that is not
    complete, and the document of each."""

    held: Tensor
    document: Tensor
    begun: Tensor
    begun_documents: Tensor


class PatchMemory(nn.Module):
    """Gated memory above the patches: spans of them, summed up one after the other, are read by all later ones.

        m_c = a ∘ m_{c−1} + (1 − a) ∘ W_s mean(span c),    a = σ(decay)
        x_p + σ(W_g x_p) ∘ W_r m_{c(p) − 1},               c(p) the span of patch p

    So what left the window of attention, or is far away in it, is still told in one vector.
    """

    INITIAL_DECAY = 1.0

    def __init__(self, d_model: int, span: int) -> None:
        super().__init__()
        self.span = span
        self.sum_up = Linear(d_model, d_model)
        self.gate = Linear(d_model, d_model)
        self.read = Linear(d_model, d_model, zero_init=True)
        self.decay = nn.Parameter(torch.full((d_model,), self.INITIAL_DECAY))

    def forward(
        self, x_BPM: Tensor, documents_BP: Tensor | None = None, state: MemoryState | None = None
    ) -> tuple[Tensor, MemoryState]:
        """Patches with what is held when they are read; `state`: what the patches before them left.

        What is held of one document (all are one, unless `documents` numbers them) is not read in another.
        """
        if documents_BP is None:
            documents_BP = torch.zeros(x_BPM.shape[:2], dtype=torch.int64, device=x_BPM.device)
        if state is None:
            nothing = x_BPM.new_zeros(len(x_BPM), x_BPM.shape[2])
            state = MemoryState(nothing, documents_BP[:, 0], x_BPM[:, :0], documents_BP[:, :0])
        line, owners = torch.cat([state.begun, x_BPM], dim=1), torch.cat([state.begun_documents, documents_BP], dim=1)
        held, of = [state.held], [state.document]
        keeps, whole = self.decay.sigmoid().to(x_BPM.dtype), line.shape[1] // self.span * self.span
        for begin in range(0, whole, self.span):
            owner_BN = owners[:, begin : begin + self.span]
            of.append(owner_BN[:, -1])
            own_BN1 = (owner_BN == of[-1][:, None])[..., None].to(line.dtype)
            mean_BM = (line[:, begin : begin + self.span] * own_BN1).sum(dim=1) / own_BN1.sum(dim=1)
            kept_BM = held[-1] * (of[-2] == of[-1])[:, None].to(line.dtype)
            held.append(keeps * kept_BM + (1 - keeps) * self.sum_up(mean_BM))
        place_P = (state.begun.shape[1] + torch.arange(x_BPM.shape[1], device=x_BPM.device)) // self.span
        own_BP1 = (torch.stack(of, dim=1)[:, place_P] == documents_BP)[..., None].to(x_BPM.dtype)
        read = self.gate(x_BPM).sigmoid() * self.read(torch.stack(held, dim=1)[:, place_P] * own_BP1)
        return x_BPM + read, MemoryState(held[-1], of[-1], line[:, whole:], owners[:, whole:])


def _heads(x_BTW: Tensor, nhead: int) -> Tensor:
    """[B, H, T, D]."""
    return x_BTW.view(*x_BTW.shape[:2], nhead, -1).transpose(1, 2)
