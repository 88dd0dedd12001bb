"""What InspectPatches does, for the server and for the command line: data cut into its patches, and told."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

import bitlm_core
from bitlm_core import ConfigError, PatchingConfig, require_memory
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines
from bitlm_mcp.compute.scoring import shown_bytes

if TYPE_CHECKING:
    from bitlm_core import PatchInspection, PatchStatistics

HISTOGRAM = 32
"""Longer patches are counted together, in the last entry."""
_WORKING_BYTES = 32
_FITTING_BYTES = 112 << 20


def patching_of(given: Mapping[str, Any]) -> PatchingConfig:
    """The settings that were given, None for those that were not. Raises ConfigError where they do not fit together."""
    try:
        return PatchingConfig.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = (
            ": ".join([*map(str, problem["loc"][-1:]), problem["msg"].removeprefix("Value error, ")])
            for problem in error.errors()
        )
        raise ConfigError("; ".join(problems)) from None


def histogram_of(about: PatchStatistics) -> tuple[int, ...]:
    """Entry i counts the patches of length i + 1; the last one that there may be, longer ones too."""
    told, longer = about.histogram[: HISTOGRAM - 1], about.histogram[HISTOGRAM - 1 :]
    return (*told, sum(longer)) if longer else told


def patches_outcome(found: PatchInspection, first: int) -> answers.PatchesOutcome:
    """What is told: figures, and the first patches."""
    about = found.statistics
    return answers.PatchesOutcome(
        num_bytes=len(found.data),
        threshold=found.theta,
        num_patches=about.num_patches,
        mean=about.mean,
        spread=about.spread,
        shortest=about.shortest,
        longest=about.longest,
        histogram=histogram_of(about),
        patches=tuple(
            answers.Patch(
                offset=begin,
                text=shown_bytes(bytes(found.data[begin:end])),
                bits=tuple(round(bits, 2) for bits in found.entropies[begin:end].tolist()),
            )
            for begin, end in found.spans(first)
        ),
    )


def check_alone(given: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError for settings of patching beside a model, `what`, which has its own."""
    named = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    if named:
        raise ConfigError(f"{named}: {what} has its own patching: leave that out, or leave the model out")


def patches_steps(engines: Engines, command: commands.InspectPatches) -> Generator[float, None, answers.PatchesOutcome]:
    """Cut data, yielding the share done."""
    yield 0.0
    engine = None if command.model is None else engines.get(command.model, command.trace).engine
    data = np.asarray(command.data.open().array)
    require_memory(_WORKING_BYTES * len(data) + _FITTING_BYTES, "looking at patches")
    if engine is not None:
        return patches_outcome(bitlm_core.inspect_model_patches(engine.model, data), command.first)
    return patches_outcome(bitlm_core.inspect_patches(data, command.patching or PatchingConfig()), command.first)
