"""What most likely stood in gaps: several beginnings side by side, and what the network makes of the rest after each.

    surest place ─→ its likeliest bytes, a row each ─→ each row goes on by itself, the surest of its places first
                 ─→ a row weighs what its bytes were worth together ─→ at each place the byte with the most weight

The first look, in which no byte is known to the others, counts beside the rows: it is what they cannot agree on. With one
beginning and without that look this would be greedy. B rows, T bytes of a row, O open ones, W beginnings.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor

from bitlm_core.generation.template import KNOWN
from bitlm_core.models.interface import LanguageModel, MaskedPrediction
from bitlm_core.models.output import conditioned_log_probs

BEGINNINGS = 4
FIRST_LOOK = 0.3
"""What it counts, where all rows together count 1."""


class Likeliest(NamedTuple):
    """places, bytes [B, O]; prob [B, O]: the share of all weight that each byte has; first: the first look."""

    places: Tensor
    bytes: Tensor
    prob: Tensor
    first: MaskedPrediction


@torch.no_grad()
def likeliest_steps(model: LanguageModel, data_BT: Tensor, known_BT: Tensor) -> Generator[int, None, Likeliest]:
    """Fill rows that all have as many open bytes, at least one; yields the number of places decided after each pass."""
    B = len(data_BT)
    places_BO = (known_BT != KNOWN).nonzero()[:, 1].view(B, -1)
    first = model.predict_masked(data_BT, known_BT)
    told_BON = _told(first, data_BT, known_BT, places_BO)
    yield 1
    surest_B = told_BON.amax(dim=-1).argmax(dim=1)
    score_BW, byte_BW = told_BON[torch.arange(B), surest_B].topk(BEGINNINGS, dim=1)
    # From here on R = B · W rows.
    data, known, places = (of.repeat_interleave(BEGINNINGS, dim=0) for of in (data_BT, known_BT, places_BO))
    rows = torch.arange(len(data))
    score, byte, chosen = score_BW.flatten(), byte_BW.flatten(), surest_B.repeat_interleave(BEGINNINGS)
    is_open = torch.ones_like(places, dtype=torch.bool)
    for decided in range(1, places.shape[1] + 1):
        at = places[rows, chosen]
        data[rows, at], known[rows, at], is_open[rows, chosen] = byte, KNOWN, False
        if decided == places.shape[1]:
            break
        sureness, best = _told(model.predict_masked(data, known), data, known, places).max(dim=-1)
        gained, chosen = sureness.masked_fill(~is_open, -torch.inf).max(dim=1)
        score, byte = score + gained, best[rows, chosen]
        yield decided + 1
    weight_BOW = score.view(B, 1, -1).softmax(dim=-1).expand(-1, places.shape[1], -1)
    filled_BOW = data.gather(1, places).view(B, BEGINNINGS, -1).transpose(1, 2)
    prob, found = (FIRST_LOOK * told_BON.exp()).scatter_add(2, filled_BOW, weight_BOW).max(dim=-1)
    return Likeliest(places_BO, found, prob / (1 + FIRST_LOOK), first)


def _told(prediction: MaskedPrediction, data: Tensor, known: Tensor, places: Tensor) -> Tensor:
    """[rows, O, 256] ln p of the bytes at the open places."""
    nodes = prediction.nodes.cpu().gather(1, places[..., None].expand(-1, -1, 256)).double()
    return conditioned_log_probs(nodes, data.gather(1, places), known.gather(1, places))
