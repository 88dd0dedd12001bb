"""What quantised models cost and save: size of the file, bits per byte, speed of decoding.

A network is trained for some CPU seconds and then quantised in each way. Held-out bytes are scored by the network alone. Files
are those of checkpoints without context mixing and, on all sides, without the optimizer. Learning with rounded weights is more
learning, so the same steps with exact weights stand beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.learn import scored, split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.checkpoint.format import write_file
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.generation.many import generate_many
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.models.packed import Packable, can_be_packed
from bitlm_core.steps import scaled
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory
from bitlm_core.transform.quantization import adapt_steps, quantize, quantize_steps

DRAWN, ROUNDS = 512, 4


@dataclass(frozen=True)
class QuantizeReport(Report):
    """Bits per byte of the held-out bytes, sizes of files in bytes and as shares of the float32 one, and bytes decoded per CPU
    second, the best of some rounds; None for networks that only PyTorch runs. `bpb_float32_trained_on`: after as many more
    steps as int4_qat had, with exact weights."""

    bpb_float32: float
    bpb_int8: float
    bpb_int4: float
    bpb_int4_qat: float
    bpb_float32_trained_on: float
    file_bytes_float32: int
    file_ratio_int8: float
    file_ratio_int4: float
    bytes_per_second_float32: float | None
    bytes_per_second_int8: float | None
    bytes_per_second_int4: float | None
    qat_steps: int
    qat_cpu_seconds: float
    cpu_seconds: float
    steps: int
    bytes_scored: int
    num_parameters: int
    machine: str


def quantize_bench_steps(
    data: bytes, config: EngineConfig, *, seconds: float, qat_steps: int
) -> Iterator[float | QuantizeReport]:
    """Train on the first 90 % for CPU seconds, quantise, and score the rest; yields the share done, and last the report.

    Context mixing is left out. Raises ConfigError for data too short.
    """
    torch.set_num_threads(1)
    engine = Engine(config.model_copy(update={"mixing": None}))
    train, held = (bytes_in_memory(part) for part in split(data))
    if len(held) < 2:
        raise ConfigError(f"{len(data)} bytes leave {len(held)} to be scored: give at least 20")
    trained = yield from scaled(train_on_cpu_clock(engine, train, TrainingPlan(seconds=seconds)), 0.0, 0.5)
    int8, int4 = quantize(engine, "int8"), quantize(engine, "int4")
    started = time.process_time()
    learned = yield from scaled(quantize_steps(engine, "int4", qat_steps=qat_steps, data=train), 0.5, 0.65)
    took = time.process_time() - started
    exact = Engine.from_state(*engine.state())
    yield from scaled(adapt_steps(exact, train, qat_steps, None), 0.65, 0.8)
    known = dict[str, Any]()
    scoring = {"float32": engine, "int8": int8, "int4": int4, "int4_qat": learned, "float32_trained_on": exact}
    for name, one in scoring.items():
        known[f"bpb_{name}"] = _bits(one, held)
        yield 0.8 + 0.03 * len(known)
    yield QuantizeReport(
        **known,
        **_sizes({name: scoring[name] for name in ("float32", "int8", "int4_qat")}),
        qat_steps=qat_steps,
        qat_cpu_seconds=took,
        cpu_seconds=trained.cpu_seconds,
        steps=engine.step,
        bytes_scored=len(held),
        num_parameters=engine.num_parameters,
        machine=describe(),
    )


def _bits(engine: Engine, held: ByteData) -> float:
    known = scored(engine, np.asarray(held.array)).bits_per_byte_network
    return math.nan if known is None else known


def _sizes(engines: dict[str, Engine]) -> dict[str, Any]:
    """Files, the first as it is and others as shares of it, and speeds."""
    first, *others = (_file_bytes(engine) for engine in engines.values())
    speeds = dict(zip(("float32", "int8", "int4"), _speeds(list(engines.values())), strict=True))
    ratios = {f"file_ratio_{name}": size / first for name, size in zip(("int8", "int4"), others, strict=True)}
    return {"file_bytes_float32": first, **ratios, **{f"bytes_per_second_{name}": speed for name, speed in speeds.items()}}


def _file_bytes(engine: Engine) -> int:
    """Of a checkpoint without the optimizer's part."""
    tensors, header = engine.state()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        write_file(path, {name: value for name, value in tensors.items() if not name.startswith("optimizer.")}, header)
        return path.stat().st_size


def _speeds(engines: list[Engine]) -> list[float | None]:
    """Bytes per second of one stream, windows and their second reading included. In turns, for machines with others on them."""
    if not all(can_be_packed(engine.model) for engine in engines if engine.model):
        return [None] * len(engines)
    best = [0.0] * len(engines)
    for round_ in range(1 + ROUNDS):
        for index, engine in enumerate(engines):
            started = time.process_time()
            generate_many(cast(Packable, engine.model), None, [b"The "], DRAWN, SamplingConfig())
            if round_:  # the first one warms up
                best[index] = max(best[index], DRAWN / (time.process_time() - started))
    return list(best)
