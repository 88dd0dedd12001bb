"""What int8 weights cost in bits per byte: a network is trained for some CPU seconds, and held-out bytes are scored with both.

By the kernels that generate and code, over the windows of evaluation; PyTorch's own figure stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.predictor import check_fused
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.packed import Packable
from bitlm_core.models.packed_stack import Weights
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.steps import scaled
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import bytes_in_memory

PIECE = 4096


@dataclass(frozen=True)
class Int8Report(Report):
    """Bits per byte of the held-out bytes: the network alone by the kernels in both kinds of weights and by PyTorch; and with
    context mixing learning on (online), where the model has it. `int8_cost`: what int8 adds, network alone."""

    bpb_float32: float
    bpb_int8: float
    int8_cost: float
    bpb_torch: float
    bpb_online_float32: float | None
    bpb_online_int8: float | None
    cpu_seconds: float
    steps: int
    bytes_scored: int
    num_parameters: int
    machine: str

    def flat(self) -> dict[str, float | int | str | bool | None]:
        """As any report, with six digits: the difference is small."""
        exact = {name: round(value, 6) for name, value in vars(self).items() if isinstance(value, float)}
        return super().flat() | exact


def int8_cost_steps(data: bytes, config: EngineConfig, *, seconds: float) -> Iterator[float | Int8Report]:
    """Train on the first 90 % for CPU seconds, then score the rest; yields the share done, and last the report.

    Raises ConfigError for a model that the kernels cannot run, and for data too short.
    """
    torch.set_num_threads(1)
    engine = Engine(config)
    check_fused(engine.model)
    train, held = split(data)
    if len(held) < 2:
        raise ConfigError(f"{len(data)} bytes leave {len(held)} to be scored: give at least 20")
    plan = TrainingPlan(seconds=seconds)
    trained = yield from scaled(train_on_cpu_clock(engine, bytes_in_memory(train), plan), 0.0, 0.8)
    array = np.frombuffer(held, np.uint8)
    found: dict[Weights, NDArray[np.float32]] = {}
    both: tuple[Weights, Weights] = ("float32", "int8")
    for weights in both:
        logits = []
        streams = FusedStreams(cast(Packable, engine.model), weights=weights)
        for start in range(0, len(held), PIECE):
            logits.append(streams.path_logits(held[start : start + PIECE]))
            yield 0.8 + 0.1 * len(found) + 0.1 * start / len(held)
        found[weights] = np.concatenate(logits)
    alone = {weights: _bits(logits, array) for weights, logits in found.items()}
    online = {weights: _online(engine, logits, array) for weights, logits in found.items()}
    yield Int8Report(
        bpb_float32=alone["float32"],
        bpb_int8=alone["int8"],
        int8_cost=alone["int8"] - alone["float32"],
        bpb_torch=_bits(_torch_logits(engine, array), array),
        bpb_online_float32=online["float32"],
        bpb_online_int8=online["int8"],
        cpu_seconds=trained.cpu_seconds,
        steps=engine.step,
        bytes_scored=len(held),
        num_parameters=engine.num_parameters,
        machine=describe(),
    )


def _torch_logits(engine: Engine, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    windows = half_overlapping(len(data), engine.config.model.max_bytes)
    return np.concatenate([logits for _, logits in expert_path_logits(engine.model, data, windows)])


def _online(engine: Engine, logits: NDArray[np.float32], data: NDArray[np.uint8]) -> float | None:
    if engine.mixer is None:
        return None
    mixer = engine.mixer.copy()
    mixer.start_document()
    return _bits(mixer.read(data, logits, learn=True), data)


def _bits(logits: NDArray[np.float32], data: NDArray[np.uint8]) -> float:
    return total_nats(logits, data) / (math.log(2) * len(data))
