"""The machine: how much memory a model would take, and how much there is. No torch in here."""

from __future__ import annotations

import os
from pathlib import Path

from bitlm_core.errors import ResourceLimitError
from bitlm_core.models.config import BITS_PER_GROUP, ModelConfig, count_parameters

# Of the memory that is free, how much one model may claim: the rest is for data, requests and everybody else.
SHARE_OF_FREE = 0.6
_SCORED_POSITIONS = 4096  # positions of one batch of windows, at most
_RUNTIME_BYTES = 64 << 20  # allocator slack and kernel workspaces


def estimate_memory_bytes(
    model: ModelConfig, *, batch_size: int, window_bytes: int, element_bytes: int, mixing_bytes: int
) -> int:
    """Upper estimate of the memory that an engine takes: weights, gradients, two moments, mixing tables, and activations.

    Activations of training or of scoring, whichever are more: the two never run at once.
    """
    weights = count_parameters(model) * (4 * 4 + 2)
    training = _training_bytes(model, batch_size, window_bytes * _per_byte(model), element_bytes)
    return weights + max(training, _scoring_bytes(model, element_bytes)) + mixing_bytes + _RUNTIME_BYTES


def _per_byte(model: ModelConfig) -> int:
    return 1 if model.architecture == "byte" else BITS_PER_GROUP


def _training_bytes(model: ModelConfig, batch_size: int, positions: int, element_bytes: int) -> int:
    """Per position and block, backward keeps about 14 vectors of width d_model and 3 of dim_feedforward, and three rows of
    the attention map per head (in bf16; the fused kernel of fp32 keeps none); dropout keeps its mask and its result twice.
    """
    maps = 3 * model.nhead * positions if element_bytes == 2 else 0
    dropped = 4 * model.d_model if model.dropout else 0
    per_position = element_bytes * (14 * model.d_model + 3 * model.dim_feedforward + maps + dropped)
    outputs = 6 * 4 * 256 if model.architecture == "byte" else 6 * 4
    ends = (6 * element_bytes + 2 * element_bytes * (model.dropout > 0)) * model.d_model
    return batch_size * positions * (model.num_layers * per_position + outputs + ends)


def _scoring_bytes(model: ModelConfig, element_bytes: int) -> int:
    """A forward pass of a batch of windows, of which one block is held at a time; and a decoder's cache and tree.

    The context mixer reads ahead in training's dtype: in bf16 with the maps of attention.
    """
    window = model.max_bytes * _per_byte(model)
    positions = max(_SCORED_POSITIONS, window)
    maps = 3 * 2 * model.nhead * window if element_bytes == 2 else 0
    outputs = 6 * 4 * 256 if model.architecture == "byte" else 6 * 4
    forward = positions * (4 * (12 * model.d_model + 3 * model.dim_feedforward) + maps + outputs)
    held = model.max_seq_len + 256
    return forward + held * (2 * 4 * model.num_layers * model.d_model + 3 * 4 * 256 * model.nhead)


def free_memory_bytes() -> int:
    """Memory that could be allocated now: MemAvailable where the system tells, else half of the physical memory."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def require_memory(estimate: int, what: str, *, free: int | None = None) -> None:
    """Raise ResourceLimitError when `estimate` bytes are more than the permitted share of what is free."""
    limit = int(SHARE_OF_FREE * (free_memory_bytes() if free is None else free))
    if estimate > limit:
        raise ResourceLimitError(
            f"{what} would need about {estimate / 2**20:,.0f} MiB, more than the limit of {limit / 2**20:,.0f} MiB "
            f"({SHARE_OF_FREE:.0%} of the free memory): choose a smaller preset, d_model, num_layers, max_seq_len "
            "or batch_size. Nothing was allocated",
            estimate=estimate,
            limit=limit,
        )
