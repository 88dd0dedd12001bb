"""The ways to share a training, and what can be trained so. No torch in here: it is asked before anything starts."""

from __future__ import annotations

from typing import Literal

from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.training.config import TrainingPlan

Parallel = Literal["ddp", "fsdp", "pipeline"]
"""What each process has: the whole network, a shard of each block, or some of the blocks."""


def check_parallel(config: EngineConfig, plan: TrainingPlan, parallel: Parallel, size: int) -> None:
    """Raise ConfigError for what `size` processes cannot train so."""
    model, training = config.model, config.training
    if not model.has_network:
        raise ConfigError(
            "architecture='mix' has no network whose training could be shared, and its context mixer reads byte after byte: train "
            "it with nproc=1, or use architecture='byte'"
        )
    asked = {
        "carry=true": plan.carry,
        "progressive=true": plan.growing is not None,
        "compress_prob or direct_prob": training.feeds,
    }
    for what, wanted in asked.items():
        if wanted:
            raise ConfigError(f"{what} is for one process alone: train with nproc=1, or without it")
    windows = training.num_windows(min(training.window_bytes or model.max_bytes, model.max_bytes))
    least = size * training.accumulation * (2 if plan.objective == "mixed" else 1)
    if parallel != "pipeline" and windows < least:
        raise ConfigError(
            f"batch_size={windows} is too little for {size} processes with accumulation={training.accumulation} and "
            f"objective={plan.objective!r}, which share {least} windows at least: use a batch_size of that or more"
        )
