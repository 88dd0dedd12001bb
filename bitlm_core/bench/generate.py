"""How fast a network of a size decodes: in fp32 and int8, alone and with context mixing, one stream or several.

Weights are random (speed does not depend on what they are), windows and their second reading included. One thread: process CPU
time, the best of some rounds, for other loads on a machine can only slow a round down. More threads: wall time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from bitlm_core.bench.machine import clock, describe
from bitlm_core.bench.report import Report
from bitlm_core.errors import ConfigError
from bitlm_core.generation.many import generate_many
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.config import Attention, ModelConfig, count_parameters
from bitlm_core.models.output import path_logits
from bitlm_core.models.packed import Weights
from bitlm_core.models.presets import preset_config

SIZES: dict[str, dict[str, Any]] = {
    "0.8M": {"d_model": 128, "nhead": 2, "num_layers": 4},
    "5M": {"d_model": 256, "nhead": 4, "num_layers": 6},
    "25M": {"d_model": 512, "nhead": 8, "num_layers": 8},
}
"""Names by the parameters that are multiplied with: blocks and head. Embeddings are looked up."""
WEIGHTS: tuple[Weights, Weights] = ("float32", "int8")
WINDOW = 256
COMPARED = 300
ROUNDS = 3
SECONDS = 0.4  # what a round is to take, about


@dataclass(frozen=True)
class GenerateReport(Report):
    """Bytes per second of all streams together, at temperature 1: the network alone in both kinds of weights, and (in fp32 and
    int8) with context mixing, frozen.

    `carried`: with keys and values carried on where windows would overlap, so that nothing is read twice; one stream, network
    alone. `torch`: the PyTorch path, byte by byte within one window. `num_parameters`: all; `num_multiplied`: of blocks and
    head. `max_logit_difference`: of fp32 from PyTorch, over bytes of two windows; `max_logit_difference_int8`: the same for
    int8. `compile_seconds`: of the first call, CPU time; from numba's cache on disk, where it has been compiled before.
    """

    bytes_per_second: float
    bytes_per_second_int8: float
    bytes_per_second_mixing: float
    bytes_per_second_mixing_int8: float
    bytes_per_second_carried: float
    bytes_per_second_carried_int8: float
    bytes_per_second_torch: float
    max_logit_difference: float
    max_logit_difference_int8: float
    parameters: str
    num_parameters: int
    num_multiplied: int
    attention: str
    engine: str
    streams: int
    threads: int
    compile_seconds: float
    machine: str

    def flat(self) -> dict[str, float | int | str | bool | None]:
        """As any report, with the difference in full: four digits behind the point would make it nothing."""
        return super().flat() | {"max_logit_difference": float(f"{self.max_logit_difference:.3g}")}


def generate_speeds(
    parameters: str, *, attention: Attention = "chunked", streams: int = 1, threads: int = 1
) -> Iterator[float | GenerateReport]:
    """Yields the share done, and last the report. Raises ConfigError for a size that has no name here."""
    if parameters not in SIZES:
        raise ConfigError(f"parameters={parameters!r} is not one of {', '.join(SIZES)}: choose one of these")
    torch.set_num_threads(1)
    model, mixer = _random_model(attention, parameters), ContextMixer(MixingConfig(memory_mib=16))
    mixer.read(np.frombuffer(b"so that its tables hold something. " * 500, np.uint8))
    started = time.process_time()
    FusedStreams(model).node_logits()
    compiled = time.process_time() - started
    reference = _torch_logits(model)
    differences = [float(np.abs(_fused_logits(model, weights) - reference).max()) for weights in WEIGHTS]
    yield 0.1
    speeds: dict[tuple[bool, Weights], float] = {}
    for mixed, weights in product((False, True), WEIGHTS):
        speeds[mixed, weights] = _speed(model, mixer if mixed else None, weights, streams, threads)
        yield 0.1 + 0.2 * len(speeds)
    yield GenerateReport(
        bytes_per_second=speeds[False, "float32"],
        bytes_per_second_int8=speeds[False, "int8"],
        bytes_per_second_mixing=speeds[True, "float32"],
        bytes_per_second_mixing_int8=speeds[True, "int8"],
        bytes_per_second_carried=_carried_speed(model, "float32"),
        bytes_per_second_carried_int8=_carried_speed(model, "int8"),
        bytes_per_second_torch=_torch_speed(model),
        max_logit_difference=differences[0],
        max_logit_difference_int8=differences[1],
        parameters=parameters,
        num_parameters=count_parameters(model.config),
        num_multiplied=_multiplied(model.config),
        attention=attention,
        engine="fused",
        streams=streams,
        threads=threads,
        compile_seconds=compiled,
        machine=describe(),
    )


def _random_model(attention: Attention, parameters: str) -> ByteLM:
    """With weights like those of a trained one: those that begin at zero, too."""
    config = preset_config("tiny", max_seq_len=WINDOW, attention=attention, **SIZES[parameters])
    model = build_model(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3 * config.d_model**-0.5)
    assert isinstance(model, ByteLM)  # noqa: S101
    return model


def _multiplied(config: ModelConfig) -> int:
    return config.num_layers * (4 * config.d_model**2 + 2 * config.d_model * config.dim_feedforward) + 256 * config.d_model


def _speed(model: ByteLM, mixer: ContextMixer | None, weights: Weights, streams: int, threads: int) -> float:
    """Bytes per second, the best of the rounds."""
    now, length, best = clock(threads), 2 * WINDOW, 0.0
    for round_ in range(1 + ROUNDS):
        started = now()
        generate_many(model, mixer, [b"The "] * streams, length, SamplingConfig(), threads=threads, weights=weights)
        seconds = now() - started
        if round_:
            best = max(best, streams * length / seconds)
        else:  # the first one warms up, and tells how long the others are to be
            length = max(2 * WINDOW, min(1 << 17, int(length * SECONDS / seconds)))
    return best


def _carried_speed(model: ByteLM, weights: Weights) -> float:
    """Bytes per second of one stream without windows, the best of the rounds."""
    streams = FusedStreams(model, weights=weights, locality=model.carrying(WINDOW // 2, WINDOW // 2))
    random, best = np.random.Generator(np.random.Philox(0)), 0.0
    streams.draw(random.random((1, WINDOW)), 1.0, 1.0, None)
    for _ in range(4 * ROUNDS):
        started = time.process_time()
        streams.draw(random.random((1, WINDOW)), 1.0, 1.0, None)
        best = max(best, WINDOW / (time.process_time() - started))
    return best


def _torch_speed(model: ByteLM, count: int = 48) -> float:
    """Of the PyTorch path, reading given bytes one by one: in the middle of a window, without reading one again."""
    predictor = Predictor(model, None, adaptive=False, running="torch")
    predictor.read(bytes(range(100)))
    started = time.process_time()
    for byte in range(count):
        predictor.advance(byte)
        predictor.node_logits()
    return count / (time.process_time() - started)


def _probe() -> bytes:
    return np.random.Generator(np.random.Philox(1)).integers(0, 256, COMPARED).astype(np.uint8).tobytes()


def _fused_logits(model: ByteLM, weights: Weights) -> np.ndarray:
    return FusedStreams(model, weights=weights).path_logits(_probe())


def _torch_logits(model: ByteLM) -> np.ndarray:
    """Byte by byte, as generation in PyTorch computes them."""
    predictor, found = Predictor(model, None, adaptive=False, running="torch"), []
    for byte in _probe():
        found.append(path_logits(torch.from_numpy(predictor.node_logits()), torch.tensor(byte)).numpy())
        predictor.advance(byte)
    return np.stack(found)
