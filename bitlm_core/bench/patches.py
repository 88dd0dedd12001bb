"""What cutting bytes into patches is worth: byte-latent networks beside a byte network, by CPU time and parameters.

All learn the first 90 % of the data for the same seconds of process CPU time, and are scored on the rest, network alone. Equal
in parameters means: outside the hashed tables, which are looked up and never multiplied with, within 5 % of the byte network.
Width and depth are as asked for; the inner width of the blocks over patches (`dim_feedforward`) is chosen so that this holds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.generate import ROUNDS, SECONDS
from bitlm_core.bench.learn import scored, split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Figure, Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.generation.autoregressive import generate_steps
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.config import ModelConfig, Preset, count_parameters
from bitlm_core.models.flops import flops_per_byte
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.patch_lm import PatchLM
from bitlm_core.models.presets import preset_config
from bitlm_core.patching.boundaries import patch_starts, patch_statistics
from bitlm_core.steps import finished
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import ByteData, bytes_in_memory

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-ngrams": {"ngram_rows": 0},
    "differential": {"attention": "differential"},
    "memory": {"memory_span": 16},
}
EQUAL = 0.05
"""By what share parameters may differ and still be called equal."""
LONGEST = 3
"""Times the wanted mean: what patches are cut at, where that is above the usual."""
WARM_BYTES = 64
CUT_BYTES = 1 << 20
"""Of the held-out data, at most, that mean patch sizes are taken of."""


@dataclass(frozen=True)
class PatchTrial:
    """What is compared. sizes: mean bytes per patch. variants: of `VARIANTS`. seconds: CPU, for each network.

    of_patches: fields of `preset_config` for the byte-latent networks alone; of_all: for every network, as is `training`.
    """

    seconds: float
    sizes: tuple[float, ...] = (1, 2, 4, 8)
    variants: tuple[str, ...] = ("plain",)
    preset: Preset = "small"
    fixed: bool = False
    of_patches: Mapping[str, Any] = field(default_factory=dict)
    of_all: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class PatchFigures:
    """One network. `name`: byte, or patch_<size> and its variant. Speeds: bytes per second of process CPU time, one thread.

    `generate_engine`: what drew the bytes, as `infer` does. `mean_patch_size`: of held-out bytes; None for bytes.
    `flops_per_byte`: of a forward pass, with patches of that size. `parameters_outside_tables`: what is held equal.
    """

    name: str
    bpb: float
    train_bytes_per_second: float
    generate_bytes_per_second: float
    generate_engine: str
    flops_per_byte: float
    num_parameters: int
    parameters_outside_tables: int
    mean_patch_size: float | None
    steps: int


@dataclass(frozen=True)
class PatchesReport(Report):
    """All networks, the byte one first. `cpu_seconds`: for each."""

    networks: tuple[PatchFigures, ...]
    cpu_seconds: float
    bytes_scored: int
    machine: str

    def flat(self) -> dict[str, Figure]:
        """Figures by their names and the network's: `bpb_byte`, `bpb_patch_4`, and ratios to the byte network's."""
        byte, found = self.networks[0], dict[str, Figure]()
        for network in self.networks:
            for name, value in vars(network).items():
                if name != "name":
                    found[f"{name}_{network.name}"] = round(value, 4) if isinstance(value, float) else value
        for network in self.networks[1:]:
            of = network.name.removeprefix("patch_")
            found[f"train_speed_ratio_{of}"] = round(network.train_bytes_per_second / byte.train_bytes_per_second, 4)
            found[f"generate_speed_ratio_{of}"] = round(network.generate_bytes_per_second / byte.generate_bytes_per_second, 4)
            found[f"flops_ratio_{of}"] = round(network.flops_per_byte / byte.flops_per_byte, 4)
        return found | {"cpu_seconds": self.cpu_seconds, "bytes_scored": self.bytes_scored, "machine": self.machine}


def patch_bench_steps(data: bytes, trial: PatchTrial) -> Iterator[float | PatchesReport]:
    """Yields the share of all CPU seconds used after each step, and last the report.

    Raises ConfigError, before anything is trained, for sizes that cannot be made equal, for names of no variant, and for data
    too short to learn from and score.
    """
    train, held = split(data)
    if len(held) < 2:
        raise ConfigError(f"{len(data)} bytes leave {len(held)} to be scored: give at least 20")
    configs = compared(trial)
    torch.set_num_threads(1)
    networks: list[PatchFigures] = []
    for name, model in configs.items():
        steps = _measured(name, model, trial, bytes_in_memory(train), np.frombuffer(held, np.uint8))
        for told in steps:
            if isinstance(told, PatchFigures):
                networks.append(told)
            else:
                yield (len(networks) + told) / len(configs)
    yield PatchesReport(tuple(networks), trial.seconds, len(held), describe())


def compared(trial: PatchTrial) -> dict[str, ModelConfig]:
    """Networks by name, the byte network first; the others have its number of parameters outside tables."""
    unknown = [name for name in trial.variants if name not in VARIANTS]
    if unknown or not trial.variants or not trial.sizes:
        asked = f"variants={','.join(trial.variants)!r}, sizes={','.join(f'{size:g}' for size in trial.sizes)!r}"
        raise ConfigError(f"{asked}: give one or more of each; variants are {', '.join(VARIANTS)}")
    byte = preset_config(trial.preset, **trial.of_all)
    found = {"byte": byte}
    for variant in trial.variants:
        for size in trial.sizes:
            name = f"patch_{size:g}" if variant == "plain" else f"patch_{size:g}_{variant.replace('-', '_')}"
            found[name] = _matched(outside_tables(byte), trial, size, VARIANTS[variant])
    return found


def outside_tables(config: ModelConfig) -> int:
    """Parameters but those of hashed n-grams."""
    return count_parameters(config.model_copy(update={"ngram_rows": 0}))


def _matched(wanted: int, trial: PatchTrial, size: float, variant: Mapping[str, Any]) -> ModelConfig:
    cut = _cutting(size, fixed=trial.fixed)
    settings = {**trial.of_all, **trial.of_patches, **cut, **variant}

    def of_inner_width(width: int) -> ModelConfig:
        return preset_config(trial.preset, "patch", **{**settings, "dim_feedforward": width})

    least = outside_tables(of_inner_width(16))
    per_unit = outside_tables(of_inner_width(17)) - least
    width = 16 + 8 * round((wanted - least) / (8 * per_unit))
    found = outside_tables(of_inner_width(max(16, width)))
    if abs(found - wanted) > EQUAL * wanted:
        raise ConfigError(
            f"the byte network has {wanted:,} parameters outside its tables, and with these sizes a patch network has "
            f"{found:,} at dim_feedforward={max(16, width)}, more than {EQUAL:.0%} beside: choose other sizes of its parts"
        )
    return of_inner_width(max(16, width))


def _cutting(size: float, *, fixed: bool) -> dict[str, Any]:
    if not fixed:
        cut: dict[str, Any] = {"mean_patch_size": float(size)}
    elif size == int(size):
        cut = {"patching": "fixed", "stride": int(size)}
    else:
        raise ConfigError(f"sizes={size:g}: with fixed patches a size is a whole number of bytes")
    return cut | ({"max_patch_size": int(LONGEST * size)} if size > 8 else {})


def _measured(
    name: str, config: ModelConfig, trial: PatchTrial, train: ByteData, held: NDArray[np.uint8]
) -> Iterator[float | PatchFigures]:
    _warm(config)
    engine = Engine(EngineConfig(model=config, training=trial.training, mixing=None))
    learned = yield from train_on_cpu_clock(engine, train, TrainingPlan(seconds=trial.seconds))
    model = engine.model
    assert model is not None  # noqa: S101 - none of these is without
    bpb = scored(engine, held).bits_per_byte_network
    assert bpb is not None  # noqa: S101
    mean = mean_patch_size(model, held) if isinstance(model, PatchLM) else None
    speed, drawn_by = _generation_speed(model)
    yield PatchFigures(
        name=name,
        bpb=bpb,
        train_bytes_per_second=learned.bytes_seen / learned.cpu_seconds,
        generate_bytes_per_second=speed,
        generate_engine=drawn_by,
        flops_per_byte=flops_per_byte(config, mean),
        num_parameters=count_parameters(config),
        parameters_outside_tables=outside_tables(config),
        mean_patch_size=mean,
        steps=learned.steps,
    )


def _warm(config: ModelConfig) -> None:
    """Kernels are compiled before any clock runs."""
    model = build_model(config)
    model.prepare(np.zeros(WARM_BYTES, np.uint8))
    with torch.no_grad():
        model.path_logits(torch.zeros(1, min(WARM_BYTES, config.max_bytes), dtype=torch.int64))


def mean_patch_size(model: PatchLM, data: NDArray[np.uint8]) -> float:
    """Bytes per patch of data [N], read in one piece; of long data, its beginning."""
    row = torch.from_numpy(data[:CUT_BYTES].astype(np.int64))[None]
    patching = model.sizes.patching
    entropies = model.entropy.entropies(row) if patching.reads_entropies else None
    return patch_statistics(patch_starts(row, entropies, patching, model.entropy.threshold)).mean


def _generation_speed(model: LanguageModel) -> tuple[float, str]:
    """Bytes per second at temperature 1 by the path of `infer`, the best of some rounds; and what ran the network."""
    best, lengths = 0.0, [WARM_BYTES] + [2 * model.config.max_bytes] * ROUNDS
    for round_, least in enumerate(lengths):
        predictor = Predictor(model, None, adaptive=False)
        length = max(least, min(1 << 17, int(SECONDS * best)))
        started = time.process_time()
        finished(generate_steps(predictor, b"The ", length, SamplingConfig()))
        if round_:  # the first one compiles what is not compiled yet
            best = max(best, length / (time.process_time() - started))
    return best, predictor.engine
