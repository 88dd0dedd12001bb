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
            "architecture='mix' has no network whose training could be shared, and its context mixer reads byte after byte: "
            "train it with nproc=1, or use architecture='byte'"
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
    if parallel == "pipeline":
        _check_pipeline(config, plan, windows, size)
        return
    least = size * training.accumulation * (2 if plan.objective == "mixed" else 1)
    if windows < least:
        raise ConfigError(
            f"batch_size={windows} is too little for {size} processes with accumulation={training.accumulation} and "
            f"objective={plan.objective!r}, which share {least} windows at least: use a batch_size of that or more"
        )


def _check_pipeline(config: EngineConfig, plan: TrainingPlan, windows: int, size: int) -> None:
    model = config.model
    asked = {
        f"objective={plan.objective!r}": plan.objective != "causal",
        "composite_loss": bool(config.telemetry.composite_loss),
        "use_act": model.act_threshold is not None,
        "compile=true": config.training.compile,
    }
    for what, wanted in asked.items():
        if wanted:
            raise ConfigError(
                f"{what} needs the whole network in one process: train with parallel='ddp' or 'fsdp', or without it"
            )
    if model.num_layers < size:
        raise ConfigError(
            f"num_layers={model.num_layers} are fewer than {size} processes, and each takes one at least: use parallel='ddp', "
            "or no more processes than layers"
        )
    if micro_batches(windows, size, config.training.accumulation) < size:
        raise ConfigError(
            f"batch_size={windows} cannot be cut into {size} parts of one size or more, and fewer would leave some of the "
            f"{size} processes idle: use a multiple of {size}"
        )


def micro_batches(num_rows: int, size: int, accumulation: int) -> int:
    """Into how many parts of one size a batch is cut: at most `accumulation`, or two, for each process."""
    most = size * max(2, accumulation)
    return max(count for count in range(1, min(most, num_rows) + 1) if num_rows % count == 0)
