"""A case of a benchmark: one network, how it is run and trained; and grids of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from bitlm_core.errors import ConfigError
from bitlm_core.models.config import Architecture, ModelConfig, Preset, describe_invalid
from bitlm_core.models.presets import preset_config
from bitlm_core.training.config import TrainingConfig

MAX_THREADS = 1024
_OF_TRAINING = ("batch_size", "use_autocast", "compile", "optimizer")


@dataclass(frozen=True)
class Case:
    """`threads` of compute, 1 … 1,024. `named`: the settings that tell it from its neighbours in the grid."""

    model: ModelConfig
    training: TrainingConfig
    threads: int
    named: Mapping[str, Any]


def grid(
    preset: Preset, architecture: Architecture, ranges: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any] | None = None
) -> Iterator[Case]:
    """One case for each combination of the ranges' values; None leaves the preset's own, chunk_size=0 is full attention.

    Names are those of `preset_config` and of TrainingConfig, and `threads`. Raises ConfigError for a value out of range and
    for a combination that does not fit together.
    """
    for values in product(*ranges.values()):
        named = dict(zip(ranges, values, strict=True))
        given = {name: value for name, value in {**(fixed or {}), **named}.items() if value is not None}
        if given.get("chunk_size") == 0:
            given |= {"chunk_size": None, "attention": "full"}
        threads = int(given.pop("threads", 1))
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads={threads} is not between 1 and {MAX_THREADS:,}: best is at most one per core")
        training = _training({name: given.pop(name) for name in _OF_TRAINING if name in given})
        model = preset_config(preset, architecture, **given)
        shown = {name: value for name, value in named.items() if len(ranges[name]) > 1}
        yield Case(model, training, threads, shown)


def _training(given: Mapping[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig(**given)
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from None
