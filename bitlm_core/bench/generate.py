"""How fast a network of a size decodes, over bytes or patches: in fp32 and int8, alone and with mixing, one stream or several.

Weights are random (speed does not depend on what they are), windows and their second reading included. One thread: process CPU
time, the best of some rounds, for other loads on a machine can only slow a round down. More threads: wall time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch

from bitlm_core.bench.machine import clock, describe
from bitlm_core.bench.report import Report
from bitlm_core.errors import ConfigError
from bitlm_core.generation.many import generate_many
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.layers.linear import Linear
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.config import Attention, count_parameters
from bitlm_core.models.output import path_logits
from bitlm_core.models.packed import Packable
from bitlm_core.models.packed_stack import Weights
from bitlm_core.models.presets import preset_config

SIZES: dict[str, dict[str, Any]] = {
    "0.8M": {"d_model": 128, "nhead": 2, "num_layers": 4},
    "1.3M": {"d_model": 192, "nhead": 3, "num_layers": 3},
    "5M": {"d_model": 256, "nhead": 4, "num_layers": 6},
    "25M": {"d_model": 512, "nhead": 8, "num_layers": 8},
}
"""Names by the parameters that are multiplied with: blocks and head. Embeddings are looked up."""
PATCH_SIZES: dict[str, dict[str, Any]] = {
    "0.8M": {"d_model": 128, "num_layers": 2, "dim_feedforward": 640, "local_width": 96},
    "1.3M": {"d_model": 192, "num_layers": 2, "dim_feedforward": 896, "local_width": 96},
    "5M": {"d_model": 384, "num_layers": 2, "dim_feedforward": 1824, "local_width": 128},
    "25M": {"d_model": 768, "num_layers": 3, "dim_feedforward": 3520, "local_width": 192},
}
"""Byte-latent networks that multiply with as many, within 1 %, in all of their parts together."""
WEIGHTS: tuple[Weights, Weights] = ("float32", "int8")
SPEEDS = ("bytes_per_second", "bytes_per_second_int8", "bytes_per_second_mixing", "bytes_per_second_mixing_int8")
CARRIED = ("bytes_per_second_carried", "bytes_per_second_carried_int8")
WINDOW = 256
PATCH_BYTES = 4
COMPARED = 300
ROUNDS = 3
SECONDS = 0.4  # what a round is to take, about


@dataclass(frozen=True)
class GenerateReport(Report):
    """Bytes per second of all streams together, at temperature 1: the network alone in both kinds of weights, and (in fp32 and
    int8) with context mixing, frozen.

    `carried`: with keys and values carried on where windows would overlap, so that nothing is read twice; one stream, network
    alone, over bytes. `torch`: the PyTorch path, byte by byte within one window. `num_parameters`: all; `num_multiplied`: those
    of all matrices. `patch_bytes`: of each patch, where there are patches (see `generate_speeds`). `max_logit_difference`: of
    fp32 from PyTorch, over bytes of two windows; `max_logit_difference_int8`: the same for int8. `compile_seconds`: of the
    first call, CPU time; from numba's cache on disk, where it has been compiled before.
    """

    bytes_per_second: float
    bytes_per_second_int8: float
    bytes_per_second_mixing: float
    bytes_per_second_mixing_int8: float
    bytes_per_second_carried: float | None
    bytes_per_second_carried_int8: float | None
    bytes_per_second_torch: float
    max_logit_difference: float
    max_logit_difference_int8: float
    architecture: str
    patch_bytes: int | None
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
    parameters: str,
    *,
    architecture: Literal["byte", "patch"] = "byte",
    patch_bytes: int | None = None,
    attention: Attention = "chunked",
    streams: int = 1,
    threads: int = 1,
) -> Iterator[float | GenerateReport]:
    """Yields the share done, and last the report. Patches all have `patch_bytes` bytes, 4 unless told, for weights are random
    and so are the bytes drawn, which entropies would cut anyhow.

    Raises ConfigError for a size that has no name here, and for patches of a byte network.
    """
    patch_bytes = _checked_patch_bytes(parameters, architecture, patch_bytes)
    torch.set_num_threads(1)
    model, mixer = random_model(attention, parameters, patch_bytes), _taught_mixer()
    compiled = _first_use(model)
    yield 0.1
    speeds: dict[str, float] = {}
    for (mixed, weights), name in zip(product((False, True), WEIGHTS), SPEEDS, strict=True):
        speeds[name] = _speed(model, mixer if mixed else None, weights, streams, threads)
        yield 0.1 + 0.2 * len(speeds)
    yield GenerateReport(
        **speeds,
        **_carried_speeds(model),
        bytes_per_second_torch=_torch_speed(model),
        **_differences(model),
        architecture=architecture,
        patch_bytes=patch_bytes,
        parameters=parameters,
        num_parameters=count_parameters(model.config),
        num_multiplied=num_multiplied(model),
        attention=attention,
        engine="fused",
        streams=streams,
        threads=threads,
        compile_seconds=compiled,
        machine=describe(),
    )


def _first_use(model: Packable) -> float:
    """CPU seconds."""
    started = time.process_time()
    FusedStreams(model).node_logits()
    return time.process_time() - started


def _checked_patch_bytes(parameters: str, architecture: str, patch_bytes: int | None) -> int | None:
    """How long patches are; None for a byte network, which has none."""
    if parameters not in SIZES:
        raise ConfigError(f"parameters={parameters!r} is not one of {', '.join(SIZES)}: choose one of these")
    if architecture == "byte" and patch_bytes is not None:
        raise ConfigError(f"patch_bytes={patch_bytes} means nothing with architecture='byte': leave it out, or use 'patch'")
    return PATCH_BYTES if architecture == "patch" and patch_bytes is None else patch_bytes


def random_model(attention: Attention, parameters: str, patch_bytes: int | None) -> Packable:
    """With weights like those of a trained one: those that begin at zero, too."""
    if patch_bytes is None:
        config = preset_config("tiny", max_seq_len=WINDOW, attention=attention, **SIZES[parameters])
    else:
        cut = {"patching": "fixed", "stride": patch_bytes, "max_patch_size": patch_bytes}
        config = preset_config("tiny", "patch", max_seq_len=WINDOW, attention=attention, **PATCH_SIZES[parameters], **cut)
    model = build_model(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3 * config.d_model**-0.5)
    assert isinstance(model, Packable)  # noqa: S101
    return model


def _taught_mixer() -> ContextMixer:
    mixer = ContextMixer(MixingConfig(memory_mib=16))
    mixer.read(np.frombuffer(b"so that its tables hold something. " * 500, np.uint8))
    return mixer


def num_multiplied(model: Packable) -> int:
    """Parameters of all matrices."""
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, Linear))


def _speed(model: Packable, mixer: ContextMixer | None, weights: Weights, streams: int, threads: int) -> float:
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


def _carried_speed(model: Packable, weights: Weights) -> float | None:
    """Bytes per second of one stream without windows, the best of the rounds; None where nothing is carried."""
    if not isinstance(model, ByteLM):
        return None
    streams = FusedStreams(model, weights=weights, locality=model.carrying(WINDOW // 2, WINDOW // 2))
    random, best = np.random.Generator(np.random.Philox(0)), 0.0
    streams.draw(random.random((1, WINDOW)), 1.0, 1.0, None)
    for _ in range(4 * ROUNDS):
        started = time.process_time()
        streams.draw(random.random((1, WINDOW)), 1.0, 1.0, None)
        best = max(best, WINDOW / (time.process_time() - started))
    return best


def _carried_speeds(model: Packable) -> dict[str, Any]:
    return dict(zip(CARRIED, [_carried_speed(model, weights) for weights in WEIGHTS], strict=True))


def _torch_speed(model: Packable, count: int = 48) -> float:
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


def _differences(model: Packable) -> dict[str, float]:
    """The largest ones of logits from PyTorch's."""
    names, reference = ("max_logit_difference", "max_logit_difference_int8"), _torch_logits(model)
    found = [float(np.abs(_fused_logits(model, weights) - reference).max()) for weights in WEIGHTS]
    return dict(zip(names, found, strict=True))


def _fused_logits(model: Packable, weights: Weights) -> np.ndarray:
    return FusedStreams(model, weights=weights).path_logits(_probe())


def _torch_logits(model: Packable) -> np.ndarray:
    """Byte by byte, as generation in PyTorch computes them."""
    predictor, found = Predictor(model, None, adaptive=False, running="torch"), []
    for byte in _probe():
        found.append(path_logits(torch.from_numpy(predictor.node_logits()), torch.tensor(byte)).numpy())
        predictor.advance(byte)
    return np.stack(found)
