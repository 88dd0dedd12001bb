"""How much of damaged data comes back: a share of its bytes is changed at random, at places that are told or not.

The first part of a file is learned, as `bench learn` does; the rest is damaged and repaired. With nothing to learn from, the
damaged data is all there is.

    exact                at told places: the share of damaged bytes restored exactly
    precision, recall    at unknown ones, of the places proposed; a proposal may be at the right place and the wrong byte
    …_exact              counting only those that are right altogether
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import train_on_cpu_clock
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Report
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.interface import LanguageModel
from bitlm_core.repair.damage import damaged_ranges
from bitlm_core.repair.settings import MARGIN_BITS, RepairSettings
from bitlm_core.repair.steps import Repair, fresh_mixer, repair_steps
from bitlm_core.repair.suspicion import suspected_steps
from bitlm_core.steps import finished, scaled
from bitlm_core.training.config import Objective, TrainingPlan
from bitlm_core.training.data import bytes_in_memory

EXAMINED = 4
"""For each damaged byte at an unknown place, so many of the most surprising ones are examined."""


@dataclass(frozen=True)
class RepairReport(Report):
    """Shares, see above; bytes; seconds of process CPU time. mean_confidence: of what was proposed at told places.

    exact_unhinted: `exact` without candidates from masked diffusion; None where the network never learned that.
    """

    exact: float
    exact_unhinted: float | None
    mean_confidence: float
    precision: float
    recall: float
    precision_exact: float
    recall_exact: float
    margin_bits: float
    proposed: int
    examined: int
    damaged: int
    bytes_learned: int
    bytes_repaired: int
    adaptive: bool
    architecture: str
    train_seconds: float
    repair_seconds: float
    search_seconds: float
    machine: str


def damaged_at_random(data: NDArray[np.uint8], rate: float, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A copy in which each of some places has another byte, any with equal probability; and the places, at least one."""
    random = np.random.default_rng(seed)
    count = max(1, round(len(data) * rate))
    places = np.sort(random.choice(len(data), count, replace=False))
    found = data.copy()
    found[places] += random.integers(1, 256, count).astype(np.uint8)
    return found, places


@dataclass(frozen=True)
class RepairTrial:
    """What is damaged and how it is repaired; seconds: of CPU time, at most, to learn the first part."""

    train_share: float = 0.9
    rate: float = 0.01
    seconds: float = 180.0
    adaptive: bool = True
    margin_bits: float = MARGIN_BITS
    seed: int = 0
    objective: Objective = "causal"

    def cut(self, size: int) -> int:
        """How much of the data is learned. Raises ConfigError for shares out of range, and where nothing is left."""
        cut = int(size * self.train_share)
        if not 0 <= self.train_share < 1 or not 0 < self.rate <= 1 or size - cut < 2:
            raise ConfigError(
                f"train_share={self.train_share} must be at least 0 and below 1, rate={self.rate} above 0 and at most 1, and "
                f"{size - cut} bytes left to be damaged must be at least 2"
            )
        return cut


def repair_bench_steps(data: bytes, config: EngineConfig, trial: RepairTrial) -> Iterator[float | RepairReport]:
    """Yields the share done, and last the report. Raises ConfigError for shares out of range, and for too little data."""
    cut = trial.cut(len(data))
    torch.set_num_threads(1)
    truth = np.frombuffer(data, np.uint8)[cut:]
    clock = [time.process_time()]
    damaged, places = damaged_at_random(truth, trial.rate, trial.seed)
    model, mixer, masked = yield from _learned(data[:cut], damaged, config, trial)
    clock.append(time.process_time())
    settings = RepairSettings(adaptive=trial.adaptive and mixer is not None)
    known = damaged_ranges(damaged, [(place, 1) for place in places.tolist()])
    told = yield from scaled(repair_steps(model, mixer, known, settings, masked=masked), 0.4, 0.6)
    clock.append(time.process_time())
    unhinted = finished(repair_steps(model, mixer, known, settings)) if masked else None
    searching = time.process_time()
    count = EXAMINED * len(places)
    how: dict[str, Any] = {"adaptive": settings.adaptive, "margin_bits": trial.margin_bits}
    damage = yield from scaled(suspected_steps(model, mixer, damaged, count, **how), 0.6, 0.7)
    found = yield from scaled(repair_steps(model, mixer, damage, settings, masked=masked), 0.7, 1.0)
    train_seconds, repair_seconds = np.diff(clock).tolist()
    yield RepairReport(
        exact=float((told.proposed == truth[places]).mean()),
        exact_unhinted=float((unhinted.proposed == truth[places]).mean()) if unhinted else None,
        mean_confidence=float(told.confidence.mean()),
        **_shares(found, truth, places),
        **how,
        examined=found.num_places,
        damaged=len(places),
        bytes_learned=cut,
        bytes_repaired=len(damaged),
        architecture=config.model.architecture,
        train_seconds=train_seconds,
        repair_seconds=repair_seconds,
        search_seconds=time.process_time() - searching,
        machine=describe(),
    )


def _shares(found: Repair, truth: NDArray[np.uint8], places: NDArray[np.int64]) -> dict[str, Any]:
    """Precision is 1 where nothing was proposed."""
    hits = np.isin(found.offsets, places)
    right = hits & (found.proposed == truth[found.offsets])
    proposed = max(1, len(hits))
    nothing = float(not len(hits))
    return {
        "precision": nothing + float(hits.sum()) / proposed,
        "recall": float(hits.sum()) / len(places),
        "precision_exact": nothing + float(right.sum()) / proposed,
        "recall_exact": float(right.sum()) / len(places),
        "proposed": len(hits),
    }


def _learned(
    train: bytes, damaged: NDArray[np.uint8], config: EngineConfig, trial: RepairTrial
) -> Generator[float, None, tuple[LanguageModel | None, ContextMixer | None, bool]]:
    """Network and mixer after so many CPU seconds with what there is to learn, and whether the network knows diffusion."""
    if not train:
        if config.model.has_network:
            raise ConfigError("train_share=0 leaves a network nothing to learn from: use architecture='mix', or a larger share")
        return None, fresh_mixer(damaged), False
    engine = Engine(config)
    plan = TrainingPlan(seconds=trial.seconds, objective=trial.objective)
    yield from scaled(train_on_cpu_clock(engine, bytes_in_memory(train), plan), 0.0, 0.4)
    return engine.model, engine.mixer, engine.diffusion_steps > 0
