"""Floors from healthy generations, at the lengths at which outputs will be judged.

    data ──→ prompts ──→ the model's own generations ──→ statistics at each length ──→ ranges
         └─→ byte pairs, which outputs are compared with

A range reaches so many spreads to each side of the median that the healthiest 1 − quantile of the generations lie in all
ranges at once (split conformal prediction: a further healthy one fails with at most that probability), and by `WIDENED` more,
because the tail of some hundred generations is uncertain. Half of the generations are drawn at temperature 1 and half at 0.7,
after prompts of different lengths, for that is how outputs will be drawn.

V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world" (2005), on the rank that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.generation.autoregressive import Generation, generate_steps
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.interface import LanguageModel
from bitlm_core.safety.floors import MIN_JUDGED_BYTES, CalibratedFloors, Floors, Range
from bitlm_core.safety.standard import Pairs, byte_counts_of, pair_cost, pair_counts, pair_excess
from bitlm_core.steps import finished
from bitlm_core.telemetry.metrics import measure_bits

LENGTHS = (64, 128, 256, 512)
TEMPERATURES = (1.0, 0.7)
PROMPT_BYTES = (1, 4, 16, 64)
WIDENED = 1.2
_ENOUGH = 1.6
"""Generations per quantile: with so many the rank that is taken is not yet the last one."""
_LEAST = 40
_TAIL = 0.03
"""Where the spread of a statistic is taken, on each side: far enough out to know its tail from a normal one."""
_NARROWEST = (0.02, 0.02, 0.01, 0.1, 0.1, 0.1)
"""Spreads of K, C, S and the costs that are believed at least."""
_UNLIKE = 0.6
"""Of the C and S of the data's own pieces, what a model's generations must reach to be taken for healthy."""

Array = NDArray[np.float64]


class Judged(Protocol):
    """What is calibrated: an `Engine`."""

    model: LanguageModel | None
    mixer: ContextMixer | None
    config: Any
    standard: Pairs | None


@dataclass(frozen=True)
class Calibration:
    """Floors, the byte pairs that they were found with, and from how many generations."""

    floors: Floors
    standard: Pairs | None
    num_generations: int


def calibrate_floors(
    model: Judged, data: NDArray[np.uint8], quantile: float = 0.01, *, lengths: Sequence[int] = LENGTHS, seed: int = 0
) -> Floors:
    """Find the floors that all but a `quantile` of the model's healthy generations pass, and let its gate demand them.

    See `calibrate_steps`, which can be stopped on the way.
    """
    steps = calibrate_steps(model, data, quantile, lengths=lengths, seed=seed)
    found = finished(steps)
    adopt_floors(model, found)
    return found.floors


def adopt_floors(model: Judged, found: Calibration) -> None:
    """Let the model's gate demand what was found."""
    model.config = model.config.model_copy(update={"floors": found.floors})
    model.standard = found.standard


def calibrate_steps(
    model: Judged, data: NDArray[np.uint8], quantile: float = 0.01, *, lengths: Sequence[int] = LENGTHS, seed: int = 0
) -> Generator[float, None, Calibration]:
    """Yields the share done; changes nothing. `data`: bytes that the model was not trained on, better than those it was.

    Raises ConfigError for a quantile outside 0.001 to 0.2 and for less data than the longest length, ModelStateError for a
    model whose generations are so unlike the data that floors found with them would let anything pass.
    """
    longest = _check(data, quantile, lengths)
    count = max(_LEAST, math.ceil(_ENOUGH / quantile))
    random = np.random.default_rng(seed)
    standard = pair_counts(data)
    made: list[Generation] = []
    for number in range(count):
        size = min(PROMPT_BYTES[number // len(TEMPERATURES) % len(PROMPT_BYTES)], _longest_prompt(model), len(data))
        start = int(random.integers(0, len(data) - size + 1))
        sampling = SamplingConfig(temperature=TEMPERATURES[number % len(TEMPERATURES)], seed=seed * count + number)
        predictor = Predictor(model.model, model.mixer, adaptive=False)
        for share in _following(generate_steps(predictor, data[start : start + size].tobytes(), longest, sampling), made):
            yield (number + share) / count
    _check_healthy([generation.data for generation in made], data, standard)
    rows = tuple(_row(made, length, standard, quantile) for length in sorted(lengths))
    return Calibration(Floors(k=0, c=0, s=0, calibrated=rows), standard, count)


def _following(steps: Generator[float, None, Generation], made: list[Generation]) -> Generator[float, None, None]:
    """The shares of a generation, which is put to those made at its end."""
    made.append((yield from steps))


def _check(data: NDArray[np.uint8], quantile: float, lengths: Sequence[int]) -> int:
    if not 0.001 <= quantile <= 0.2:
        raise ConfigError(f"quantile={quantile} is not between 0.001 and 0.2: give the share of healthy outputs that may fail")
    if not lengths or min(lengths) < MIN_JUDGED_BYTES:
        raise ConfigError(f"lengths={list(lengths)}: give one or more, of {MIN_JUDGED_BYTES} bytes at least")
    if len(data) < 2 * max(lengths):
        raise ConfigError(
            f"{len(data):,} bytes are too few to calibrate for outputs of {max(lengths)} bytes: give at least "
            f"{2 * max(lengths):,} that the model was not trained on"
        )
    return max(lengths)


def _longest_prompt(model: Judged) -> int:
    return model.model.config.max_bytes if model.model is not None else max(PROMPT_BYTES)


def _check_healthy(made: Sequence[bytes], data: NDArray[np.uint8], standard: Pairs) -> None:
    """Raise ModelStateError unless the median generation is about as complex as the data, and of about its bytes."""
    length = len(made[0])
    starts = np.linspace(0, len(data) - length, len(made)).astype(int)
    own, like = (
        np.median([_statistics(part, standard) for part in parts], axis=0)
        for parts in ([np.frombuffer(part, np.uint8) for part in made], [data[at : at + length] for at in starts])
    )
    for name, at in (("C", 1), ("S", 2)):
        if own[at] < _UNLIKE * like[at]:
            raise ModelStateError(
                f"the model's own generations have {name} {own[at]:.3g}, pieces of the data {like[at]:.3g}: a gate calibrated "
                "with them would let anything pass. Train the model longer, or calibrate with data like its training data"
            )


def _statistics(data: NDArray[np.uint8], standard: Pairs) -> tuple[float, ...]:
    """K, C, S, pair cost and pair excess."""
    measured = measure_bits(bytes_to_bits(data.tobytes()), byte_counts_of(standard))
    return measured.k, measured.c, measured.s, pair_cost(data, standard), pair_excess(data, standard)


def _row(made: Sequence[Generation], length: int, standard: Pairs, quantile: float) -> CalibratedFloors:
    found = np.array(
        [
            (
                *_statistics(np.frombuffer(one.data, np.uint8)[:length], standard),
                math.fsum(one.costs[:length]) / length,
            )
            for one in made
        ]
    )
    usual = np.median(found, axis=0)
    below = np.maximum(usual - np.quantile(found, _TAIL, axis=0), _NARROWEST)
    above = np.maximum(np.quantile(found, 1 - _TAIL, axis=0) - usual, _NARROWEST)
    oddness = np.sort(np.where(found < usual, (usual - found) / below, (found - usual) / above).max(axis=1))
    rank = min(len(made), math.ceil((len(made) + 1) * (1 - quantile)))
    width = WIDENED * oddness[rank - 1]
    ranges = [
        Range(low=float(low), usual=float(middle), high=float(high))
        for low, middle, high in zip(usual - width * below, usual, usual + width * above, strict=True)
    ]
    return CalibratedFloors(num_bytes=length, **dict(zip(("k", "c", "s", "pairs", "excess", "cost"), ranges, strict=True)))
