"""A training of several processes, from the first order to the last: for the leader's engine, and for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bitlm_core import learning
from bitlm_core.distributed.data_parallel import DataParallel
from bitlm_core.distributed.pipeline import Pipeline, micro_batches
from bitlm_core.distributed.sharded import Sharded
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.distributed.world import Parallel, World
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData
from bitlm_core.training.trainer import Trainer

_TRAINERS: dict[Parallel, type[SharedTrainer]] = {"ddp": DataParallel, "fsdp": Sharded, "pipeline": Pipeline}


@contextmanager
def leading(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> Iterator[None]:
    """While it lasts, the engine of rank 0 trains with all others: `train_steps`, `state` and the rest are used as always.

    Every other process calls `follow` meanwhile. `data`: what is trained on. At the end, however it comes, the others are let
    go, and the engine goes on alone with all that was learned. Check with `check_parallel` first.
    """
    trainer = _shared(engine, world, parallel, data)
    engine.trainer = trainer
    try:
        yield
    except BaseException:
        trainer.stop()
        raise
    else:
        moments = trainer.state()
        trainer.stop()
        engine.trainer = Trainer(trainer.model, trainer.config, trainer.seed)
        engine.trainer.restore(moments)


def follow(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> None:
    """Take part in a training until its leader has enough; the engine is the same as the leader's, and of no use afterwards."""
    engine.mixer = None  # it is the leader who reads
    _shared(engine, world, parallel, data).follow(data)


def _shared(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> SharedTrainer:
    model, alone = engine.model, engine.trainer
    if model is None or alone is None:
        raise ConfigError("architecture='mix' has no network whose training could be shared")
    learning.prepare(model, data)
    trainer = _TRAINERS[parallel](model, alone.config, alone.seed, world)
    trainer.restore(alone.state())
    return trainer


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
            f"num_layers={model.num_layers} are fewer than {size} processes, and each takes one at least: use nproc="
            f"{model.num_layers} or less, or parallel='ddp'"
        )
    if micro_batches(windows, size, config.training.accumulation) < size:
        raise ConfigError(
            f"batch_size={windows} cannot be cut into {size} parts of one size or more, and fewer would leave some of the "
            f"{size} processes idle: use a multiple of {size}"
        )
