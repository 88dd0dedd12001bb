"""What is minimised, in nats per byte.

`causal`: mean over bytes of −Σ_k ln p(bit k | everything before). `diffusion`: the bound of `diffusion.corruption`. Where
masked predictions come with a readout of the parity bit, its mean cross-entropy over the hidden bytes is minimised beside
the bound; it is no part of what is reported, for parity costs nothing. Neither is the ponder cost of halting models.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.diffusion.corruption import bound_nats, hide_bytes
from bitlm_core.layers.halting import Trace
from bitlm_core.models.carried import Carried
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_bits, path_logits, path_nats
from bitlm_core.training.batches import Batch
from bitlm_core.training.config import Objective


class BatchLoss(NamedTuple):
    """minimised: with a graph. nats []: per byte, to be reported; path_logits [B, T, 8]: what it came from. Both detached."""

    minimised: Tensor
    nats: Tensor
    path_logits: Tensor
    trace: Trace


def batch_loss(
    model: LanguageModel,
    batch: Batch,
    objective: Objective,
    generator: torch.Generator,
    *,
    ponder_cost: float = 0.0,
    carried: Carried | None = None,
) -> BatchLoss:
    """The loss of a batch. `carried` (causal only): what was read before it."""
    trace = Trace()
    data_BT, documents = batch.data, batch.documents
    if objective == "diffusion":
        hidden_BT = hide_bytes(data_BT, generator).to(data_BT.device)
        prediction = model.predict_masked(data_BT, 255 * ~hidden_BT, documents=documents, trace=trace)
        logits = path_logits(prediction.nodes, data_BT)
        nats = bound_nats(path_nats(logits, data_BT), hidden_BT)
        loss = nats if prediction.parity is None else nats + _parity_loss(prediction.parity, data_BT, hidden_BT)
    else:
        logits = model.path_logits(data_BT, documents=documents, carried=carried, trace=trace)
        loss = nats = path_nats(logits, data_BT).mean()
    if trace.ponder is not None:
        loss = loss + ponder_cost * trace.ponder
    return BatchLoss(loss, nats.detach(), logits.detach(), trace)


def _parity_loss(parity_BT: Tensor, data_BT: Tensor, hidden_BT: Tensor) -> Tensor:
    target_BT = path_bits(data_BT).sum(dim=-1) & 1
    return F.binary_cross_entropy_with_logits(parity_BT[hidden_BT], target_BT[hidden_BT].to(parity_BT.dtype))
