"""`bitlm bench scaling`: what each further process is worth, on a core of its own.

Weak scaling: every process has as many rows as one process that trains alone, so steps should take no longer.

    efficiency = t(alone) / t(together)                    of a step, medians over turns in which both are measured
    expected   = t(alone) / (t(alone) + t(exchange))       where nothing is exchanged while something is computed

`alone` has the machine to itself; `beside` is the same while every other process does it too, apart, which tells what the
machine itself loses. The exchange is a sum of as many numbers as the network has outside its tables. Context mixing is left
out: the leader reads, and the others wait for it, however many they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bitlm_core.bench.machine import typical
from bitlm_core.diffusion.schedule import WHOLE_BYTES
from bitlm_core.distributed.parallel import Parallel, check_parallel
from bitlm_core.distributed.session import shared_trainer
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.distributed.world import World, joined
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.training.batches import Batch, sample_windows
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory
from bitlm_core.training.optim import is_table
from bitlm_core.training.trainer import Trainer

Step = Callable[[int], object]


@dataclass(frozen=True)
class Scaling:
    """Milliseconds of a step, medians; see above. processes: how many; rows: of each; num_parameters: of the network."""

    parallel: Parallel
    processes: int
    rows: int
    num_parameters: int
    alone_ms: float
    beside_ms: float
    together_ms: float
    exchange_ms: float
    efficiency: float
    expected: float

    def flat(self) -> dict[str, float | int | str]:
        """For the last line, as JSON."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def measure_scaling(config: EngineConfig, parallel: Parallel, content: bytes, *, size: int, turns: int, steps: int) -> Scaling:
    """Measure with `size` processes of one thread each; `turns` of `steps` steps of every kind.

    `config`: of one process that trains alone. Raises ConfigError for what cannot be shared so.
    """
    check_parallel(_whole(config, size), TrainingPlan(steps=1), parallel, size)
    with TemporaryDirectory() as notes:
        launch = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=size,
            run_id="scaling",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            max_restarts=0,
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(log_dir=notes),
        )
        told = elastic_launch(launch, _measured)(config.model_dump_json(), parallel, content, turns, steps)
    found: Scaling = told[0]
    return found


def _measured(config_json: str, parallel: Parallel, content: bytes, turns: int, steps: int) -> Scaling | None:
    """In each process: take part, and in the first one tell."""
    torch.set_num_threads(1)
    config, data = EngineConfig.model_validate_json(config_json), bytes_in_memory(content)
    with joined("cpu") as world:
        engine, shared = Engine(config), Engine(_whole(config, world.size))
        assert engine.trainer is not None  # noqa: S101 - `check_parallel` has seen a network
        together = shared_trainer(shared, world, parallel, data)
        alone = _steps_of(engine.trainer, config, data)
        dense = torch.zeros(sum(value.numel() for name, value in engine.trainer.parameters() if not is_table(name)))
        found: dict[str, list[float]] = {}
        for turn in range(turns + 1):
            durations = {
                "alone": _timed(alone if world.leads else None, steps),
                "beside": _timed(alone, steps),
                "together": _timed_together(together, shared.config, data, world, steps),
                "exchange": _timed(lambda _: dist.all_reduce(dense), steps),
            }
            for kind, seconds in durations.items() if turn else ():  # the first turn warms up
                found.setdefault(kind, []).append(1e3 * seconds)
        return _report(found, parallel, world, config, engine.num_parameters) if world.leads else None


def _report(found: dict[str, list[float]], parallel: Parallel, world: World, config: EngineConfig, parameters: int) -> Scaling:
    middle = {f"{kind}_ms": typical(values) for kind, values in found.items()}
    return Scaling(
        parallel=parallel,
        processes=world.size,
        rows=config.training.batch_size,
        num_parameters=parameters,
        efficiency=typical([one / all_ for one, all_ in zip(found["alone"], found["together"], strict=True)]),
        expected=middle["alone_ms"] / (middle["alone_ms"] + middle["exchange_ms"]),
        **middle,
    )


def _timed(step: Step | None, steps: int) -> float:
    """Seconds of a step of this process, all having begun at once; who has none waits until the others are done."""
    dist.barrier()
    started = time.perf_counter()
    if step is not None:
        for index in range(steps):
            step(index)
    taken = time.perf_counter() - started
    dist.barrier()
    return taken / steps


def _timed_together(trainer: SharedTrainer, config: EngineConfig, data: ByteData, world: World, steps: int) -> float:
    dist.barrier()
    if not world.leads:
        trainer.follow(data)
        return 0.0
    step = _steps_of(trainer, config, data)
    started = time.perf_counter()
    for index in range(steps):
        step(index)
    taken = time.perf_counter() - started
    trainer.stop()
    return taken / steps


def _steps_of(trainer: Trainer, config: EngineConfig, data: ByteData) -> Step:
    """Steps of a trainer, each on other windows."""
    told: dict[str, Any] = {"progress": 0.5, "passes": 0.0, "carried": None, "masking": WHOLE_BYTES, "composite": None}

    def batch(index: int) -> Batch:
        return sample_windows(data, batch=config.training.batch_size, length=config.model.max_bytes, seed=0, step=index)

    return lambda index: trainer.step(batch(index), objective="causal", step=index, **told)


def _whole(config: EngineConfig, size: int) -> EngineConfig:
    """Of as many processes, each with as many rows."""
    training = config.training.model_copy(update={"batch_size": size * config.training.batch_size})
    return config.model_copy(update={"training": training})
