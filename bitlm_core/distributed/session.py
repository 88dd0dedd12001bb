"""A training of several processes, from the first order to the last: for the leader's engine, and for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bitlm_core import learning
from bitlm_core.device import keeping_freed_memory
from bitlm_core.distributed.data_parallel import DataParallel
from bitlm_core.distributed.parallel import Parallel
from bitlm_core.distributed.pipeline import Pipeline
from bitlm_core.distributed.sharded import Sharded
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.distributed.world import World
from bitlm_core.engine import Engine
from bitlm_core.errors import BitLMError, ConfigError
from bitlm_core.training.data import ByteData
from bitlm_core.training.trainer import Trainer

_TRAINERS: dict[Parallel, type[SharedTrainer]] = {"ddp": DataParallel, "fsdp": Sharded, "pipeline": Pipeline}


@contextmanager
def leading(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> Iterator[None]:
    """While it lasts, the engine of rank 0 trains with all others: `train_steps`, `state` and the rest are used as always.

    Every other process calls `follow` meanwhile. `data`: what is trained on. At the end the others are let go, and the engine
    goes on alone with all that was learned; after an error it is of no use any more. Check with `check_parallel` first.
    """
    trainer = shared_trainer(engine, world, parallel, data)
    try:
        yield
    except (BitLMError, GeneratorExit, OSError):
        trainer.stop()
        raise  # what else there is may come amid a step, in which the others wait for no order: they end with this process
    else:
        moments = trainer.state()
        trainer.stop()
        engine.trainer = Trainer(trainer.model, trainer.config, trainer.seed)
        engine.trainer.restore(moments)


def follow(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> None:
    """Take part in a training until its leader has enough; the engine is the same as the leader's, and of no use afterwards."""
    engine.mixer = None  # it is the leader who reads
    with keeping_freed_memory():
        shared_trainer(engine, world, parallel, data).follow(data)


def shared_trainer(engine: Engine, world: World, parallel: Parallel, data: ByteData) -> SharedTrainer:
    """The engine's trainer from now on, of all processes at once, with the moments it has; each calls it, with the same engine.

    Raises ConfigError where there is no network.
    """
    model, alone = engine.model, engine.trainer
    if model is None or alone is None:
        raise ConfigError("architecture='mix' has no network whose training could be shared")
    learning.prepare(model, data)
    trainer = _TRAINERS[parallel](model, alone.config, alone.seed, world)
    trainer.restore(alone.state())
    engine.trainer = trainer
    return trainer
