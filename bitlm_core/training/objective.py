"""What is minimised, in nats per byte.

`causal`: mean over bytes of −Σ_k ln p(bit k | everything before). `diffusion`: the bound of `diffusion.corruption`. Where
masked predictions come with a readout of the parity bit, its mean cross-entropy over the hidden bytes is minimised beside
the bound; it is no part of what is reported, for parity costs nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.diffusion.corruption import bound_nats, hide_bytes
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_bits, path_logits, path_nats
from bitlm_core.training.config import Objective


def batch_loss(
    model: LanguageModel, data_BT: Tensor, objective: Objective, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What is minimised; and, detached, the nats per byte to report and the path logits [B, T, 8] they came from."""
    if objective == "diffusion":
        hidden_BT = hide_bytes(data_BT, generator)
        prediction = model.predict_masked(data_BT, hidden_BT)
        logits = path_logits(prediction.nodes, data_BT)
        nats = bound_nats(path_nats(logits, data_BT), hidden_BT)
        loss = nats if prediction.parity is None else nats + _parity_loss(prediction.parity, data_BT, hidden_BT)
        return loss, nats.detach(), logits.detach()
    logits = model.path_logits(data_BT)
    nats = path_nats(logits, data_BT).mean()
    return nats, nats.detach(), logits.detach()


def _parity_loss(parity_BT: Tensor, data_BT: Tensor, hidden_BT: Tensor) -> Tensor:
    target_BT = path_bits(data_BT).sum(dim=-1) & 1
    return F.binary_cross_entropy_with_logits(parity_BT[hidden_BT], target_BT[hidden_BT].to(parity_BT.dtype))
