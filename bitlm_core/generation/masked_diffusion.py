"""`diffusion_sample`: fill hidden bytes in a few parallel steps, the most confident first.

Between t = 1 and t = 0 in N even steps, all bytes still hidden are predicted at once and drawn; those with the highest
probability are kept until the share visible is α(t) of the schedule, the others are hidden again. Parity is computed from
the data bits at the end, never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.codec.parity import enforce_parity
from bitlm_core.diffusion.schedule import Schedule, visible_share
from bitlm_core.errors import ConfigError, SequenceTooLongError
from bitlm_core.generation.autoregressive import Generation
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs


def diffusion_steps(
    model: LanguageModel,
    *,
    num_bytes: int,
    steps: int,
    schedule: Schedule,
    prefix: bytes,
    suffix: bytes,
    seed: int,
) -> Generator[float, None, Generation]:
    """Draw `num_bytes` bytes between a known prefix and suffix, yielding the share of steps done.

    The result's `bits_per_byte` is −log₂ of the probability each byte had when it was kept: not a likelihood.
    Raises SequenceTooLongError when all three together exceed the model's window.
    """
    length = len(prefix) + num_bytes + len(suffix)
    if length > model.config.max_bytes:
        raise SequenceTooLongError(
            f"{len(prefix)} + {num_bytes} + {len(suffix)} = {length} bytes exceed the model's window of "
            f"{model.config.max_bytes}: shorten them, or init_model with a larger max_seq_len",
            length=length,
            limit=model.config.max_bytes,
        )
    if num_bytes < 1 or steps < 1:
        raise ConfigError(f"num_bytes={num_bytes} and steps={steps} must both be at least 1")
    generator = torch.Generator().manual_seed(seed)
    data = torch.tensor([list(prefix) + [0] * num_bytes + list(suffix)])
    hidden = torch.zeros_like(data, dtype=torch.bool)
    hidden[0, len(prefix) : len(prefix) + num_bytes] = True
    parity = torch.zeros_like(data)
    nats = 0.0
    for step in range(1, steps + 1):
        left = round((1 - visible_share(schedule, 1 - step / steps)) * num_bytes)
        nats += _reveal(model, data, hidden, parity, left, generator)
        yield step / steps
    drawn = slice(len(prefix), len(prefix) + num_bytes)
    written = bytes(data[0, drawn].tolist())
    corrections = _count_corrections(written, parity[0, drawn]) if model.predicts_parity else 0
    return Generation(written, nats / (math.log(2) * num_bytes), corrections)


@torch.no_grad()
def _reveal(model: LanguageModel, data: Tensor, hidden: Tensor, parity: Tensor, left: int, generator: torch.Generator) -> float:
    """Draw all hidden bytes; keep the likeliest so that `left` stay hidden. Returns the nats of those kept.

    `parity` takes the model's own readout of the parity bits of those kept, where it has one.
    """
    keep = int(hidden.sum()) - left
    if keep <= 0:
        return 0.0
    prediction = model.predict_masked(data, 255 * ~hidden)
    log_probs = byte_log_probs(prediction.nodes[0].cpu()[hidden[0]])
    drawn = torch.multinomial(log_probs.exp(), 1, generator=generator)
    confidence = log_probs.gather(1, drawn).squeeze(1)
    chosen = confidence.topk(keep).indices
    places = hidden[0].nonzero().squeeze(1)[chosen]
    data[0, places] = drawn.squeeze(1)[chosen]
    hidden[0, places] = False
    if prediction.parity is not None:
        parity[0, places] = (prediction.parity[0].cpu()[places] > 0).long()
    return -float(confidence[chosen].sum())


def _count_corrections(written: bytes, parity: Tensor) -> int:
    """Groups whose parity bit, as the model read it out, is not the one that the data bits ask for."""
    groups = bytes_to_bits(written).reshape(-1, 9)
    groups[:, 8] = parity.numpy()
    return enforce_parity(groups.ravel())[1]
