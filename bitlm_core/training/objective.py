"""What is minimised, in nats per byte.

`causal`: mean over bytes of −Σ_k ln p(bit k | everything before). `diffusion`: the bound of `diffusion.corruption` (with a
curriculum, of what it hides at the time). `mixed`: every second window the one way, the others the other way. Where
masked predictions come with a readout of the parity bit, its mean cross-entropy over the hidden bytes is minimised beside
the bound; it is no part of what is reported, for parity costs nothing. Neither is the ponder cost of halting models, nor the
term of `composite`, nor what a teacher says (`teaching`).

What is minimised weighs each row by the root of the share that is hidden in it: rows with little hidden have few terms, so that
their means are noisy, and at equal time the bound is lower for it (0.08 bits per byte after 40 CPU-s). What is reported is the
bound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bitlm_core.diffusion.corruption import bound_nats, hidden_nats, hide
from bitlm_core.diffusion.schedule import WHOLE_BYTES, Masking
from bitlm_core.layers.halting import Trace, spread
from bitlm_core.models.carried import Carried
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_bits, path_logits, path_nats
from bitlm_core.training.batches import Batch
from bitlm_core.training.composite import COMPOSITE_BYTES, Composite, Predictions, composite_loss
from bitlm_core.training.config import Objective
from bitlm_core.training.teaching import Beliefs, Teaching


class BatchLoss(NamedTuple):
    """minimised: with a graph. nats []: per byte, to be reported; path_logits [B, T, 8]: what it came from. Both detached."""

    minimised: Tensor
    nats: Tensor
    path_logits: Tensor
    trace: Trace


def learns(name: str, objective: Objective, *, apart: bool) -> bool:
    """Whether the parameter of that name takes part; `apart`: masked predictions have a network of their own."""
    masked_only = name.startswith(("masked_network.", "neighbour_embedding.", "group_embedding."))
    if objective == "causal":
        return not masked_only
    return objective == "mixed" or masked_only or not apart


def batch_loss(
    model: LanguageModel,
    batch: Batch,
    objective: Objective,
    generator: torch.Generator,
    *,
    ponder_cost: float = 0.0,
    carried: Carried | None = None,
    masking: Masking = WHOLE_BYTES,
    composite: Composite | None = None,
    teaching: Teaching | None = None,
) -> BatchLoss:
    """The loss of a batch. `carried` (causal only): what was read before it. `masking` (diffusion): what is hidden.
    `composite`: a term that is minimised beside it; of mixed training each half has its own. `teaching` (causal only)."""
    if objective == "causal" or (objective == "mixed" and len(batch.data) == 1):
        found = _causal(model, batch, carried, composite, teaching)
    elif objective == "diffusion":
        found = _diffusion(model, batch, generator, masking, composite)
    else:
        masked = _diffusion(model, batch.every_second(1), generator, masking, composite)
        found = _joined(_causal(model, batch.every_second(0), None, composite, teaching), masked)
    if found.trace.ponder is not None:
        found = found._replace(minimised=found.minimised + ponder_cost * found.trace.ponder)
    return found._replace(nats=found.nats.detach(), path_logits=found.path_logits.detach())


def _causal(
    model: LanguageModel, batch: Batch, carried: Carried | None, composite: Composite | None, teaching: Teaching | None
) -> BatchLoss:
    sampled = COMPOSITE_BYTES if composite and composite.lambda_s else 0
    trace = Trace(graph_bytes=batch.num_bytes if teaching else sampled)
    logits = model.path_logits(batch.data, documents=batch.documents, carried=carried, trace=trace)
    nats = path_nats(logits, batch.data).mean()
    nodes, trace = trace.graph_nodes, replace(trace, graph_nodes=None)
    minimised = teaching.loss(nats, Beliefs(logits, nodes), batch) if teaching else nats
    if composite:
        some = None if nodes is None else spread(nodes, COMPOSITE_BYTES)
        minimised = minimised + composite_loss(Predictions(logits, some), batch.data, composite)
    return BatchLoss(minimised, nats, logits, trace)


def _diffusion(
    model: LanguageModel, batch: Batch, generator: torch.Generator, masking: Masking, composite: Composite | None
) -> BatchLoss:
    trace, data_BT = Trace(), batch.data
    known_BT, count_B = hide(data_BT, generator, masking)
    known_BT = known_BT.to(data_BT.device)
    prediction = model.predict_masked(data_BT, known_BT, documents=batch.documents, trace=trace)
    nats_B = bound_nats(hidden_nats(prediction.nodes, data_BT, known_BT, masking), count_B, masking)
    weight_B = count_B.to(nats_B).sqrt()
    loss = (nats_B * weight_B).sum() / weight_B.sum()
    if prediction.parity is not None:
        loss = loss + _parity_loss(prediction.parity, data_BT, known_BT != 255)
    logits = path_logits(prediction.nodes, data_BT)
    if composite:  # of the hidden bytes alone: what is predicted of known ones nobody asks for
        hidden_BT = known_BT != 255
        rows, places = (spread(each, COMPOSITE_BYTES) for each in hidden_BT.nonzero(as_tuple=True))
        found = Predictions(logits[hidden_BT], prediction.nodes[rows, places])
        loss = loss + composite_loss(found, data_BT, composite)
    return BatchLoss(loss, nats_B.mean(), logits, trace)


def _joined(even: BatchLoss, odd: BatchLoss) -> BatchLoss:
    """Both losses by the windows that they are of."""
    logits = torch.empty((len(even.path_logits) + len(odd.path_logits), *even.path_logits.shape[1:]), device=even.nats.device)
    logits[0::2], logits[1::2] = even.path_logits.detach(), odd.path_logits.detach()
    share = len(even.path_logits) / len(logits)
    minimised, nats = (share * one + (1 - share) * other for one, other in zip(even[:2], odd[:2], strict=True))
    return BatchLoss(minimised, nats, logits, _mean(even.trace, odd.trace, share))


def _mean(even: Trace, odd: Trace, share: float) -> Trace:
    """Of two passes, of which the first has this share; what is told layer by layer is of the first."""
    if even.ponder is None or odd.ponder is None:
        return even
    layers = share * even.mean_layers + (1 - share) * odd.mean_layers
    return replace(even, mean_layers=layers, ponder=share * even.ponder + (1 - share) * odd.ponder)


def _parity_loss(parity_BT: Tensor, data_BT: Tensor, hidden_BT: Tensor) -> Tensor:
    target_BT = path_bits(data_BT).sum(dim=-1) & 1
    return F.binary_cross_entropy_with_logits(parity_BT[hidden_BT], target_BT[hidden_BT].to(parity_BT.dtype))
