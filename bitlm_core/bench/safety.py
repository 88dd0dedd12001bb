"""How many healthy generations the gate passes, and how many sick outputs of each kind it catches.

A model learns the first 90 % of a file; the gate is calibrated with the first half of the rest, and healthy generations follow
prompts of the second half, with seeds that calibration has not seen. Every kind of output is judged at several lengths, each
output on its own; and a session of them, in order, by its averages.

    healthy          at temperatures 1 and 0.7
    untrained        a fresh network of the same form, after the same prompts
    one byte         each of many bytes, the data's own among them, for ever
    cycle            2 to 32 bytes of the data, again and again
    noise            uniform random bytes
    other data       models of the same form that learned other files, after the same prompts; the hardest of these files
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.bench.clock import Trained, train_on_cpu_clock
from bitlm_core.bench.learn import split
from bitlm_core.bench.machine import describe
from bitlm_core.bench.report import Figure
from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.safety.calibrate import TEMPERATURES, adopt_floors, calibrate_steps
from bitlm_core.safety.floors import Floors, Verdict
from bitlm_core.safety.gate import judge
from bitlm_core.safety.session import BURN_IN, Gate
from bitlm_core.steps import scaled
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import bytes_in_memory

LENGTHS = (64, 128, 256, 512)
HEALTHY, SICK = 300, 100
"""Outputs of each kind."""
SESSION = 25
"""Outputs in a session."""
PROMPT_BYTES = 32
OTHER_SHARE = 1 / 3
"""Training time of the models that learn other data, as a share of the first one's."""

Returned = TypeVar("Returned")
Output = tuple[bytes, tuple[float, ...]]
"""Bytes, and what each cost under the model that made it, where one did."""


@dataclass(frozen=True)
class Kind:
    """Outputs of one kind at one length: the share that passes, and the share of sessions that trigger the gate."""

    name: str
    num_bytes: int
    num_outputs: int
    passed: float
    passed_by_default: float
    triggered: float


@dataclass(frozen=True)
class SafetyReport:
    """All kinds, and what they were measured on."""

    kinds: tuple[Kind, ...]
    bits_per_byte: float
    train_cpu_seconds: float
    cpu_seconds: float
    num_generations: int

    def flat(self) -> dict[str, Figure]:
        """The figures at the longest length by kind, then those of the other lengths, and of other data by file."""
        longest = max(kind.num_bytes for kind in self.kinds)
        main = {kind.name: kind for kind in self.kinds if kind.num_bytes == longest}
        others = [kind for name, kind in main.items() if name.startswith("other")]
        found: dict[str, Figure] = {
            "passed_healthy": main["healthy"].passed,
            "passed_healthy_by_default_floors": main["healthy"].passed_by_default,
            "triggered_healthy_sessions": main["healthy"].triggered,
        }
        found |= {f"caught_{_plain(name)}": 1 - main[name].passed for name in ("untrained", "one byte", "cycle", "noise")}
        found["caught_other_data"] = min((1 - kind.passed for kind in others), default=None)
        found["triggered_other_data_sessions"] = min((kind.triggered for kind in others), default=None)
        for kind in self.kinds:
            found |= {f"passed_{_plain(kind.name)}_{kind.num_bytes}": kind.passed}
            found |= {f"triggered_{_plain(kind.name)}_{kind.num_bytes}": kind.triggered}
        found |= {"judged_bytes": longest, "bits_per_byte": self.bits_per_byte, "num_generations": self.num_generations}
        found |= {"train_cpu_seconds": self.train_cpu_seconds, "cpu_seconds": self.cpu_seconds, "machine": describe()}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def safety_steps(
    data: bytes,
    others: Mapping[str, bytes],
    config: EngineConfig,
    *,
    seconds: float,
    quantile: float = 0.01,
    outputs: tuple[int, int] = (HEALTHY, SICK),
) -> Iterator[float | SafetyReport]:
    """Yields the share done, and last the report.

    `seconds`: CPU time of the training. `outputs`: how many healthy ones, and of each sick kind.

    Raises ConfigError for a file whose held-out tenth is too short to calibrate with, and as calibration does.
    """
    train, held = split(data)
    half = np.frombuffer(held[: len(held) // 2], np.uint8)
    if len(half) < 2 * max(LENGTHS):
        raise ConfigError(f"a twentieth of {len(data):,} bytes is too little to calibrate with: give 20,480 bytes or more")
    torch.set_num_threads(1)
    began = time.process_time()
    engine = Engine(config)
    yield from scaled(_trained(engine, train, seconds), 0.0, 0.3)
    trained = time.process_time() - began
    calibration = yield from scaled(calibrate_steps(engine, half, quantile), 0.3, 0.4)
    adopt_floors(engine, calibration)
    prompts = _prompts(held[len(held) // 2 :], max(outputs))
    made: dict[str, list[Output]] = _without_a_model(np.frombuffer(train, np.uint8), outputs[1])
    made["healthy"] = yield from scaled(_outputs(engine, prompts[: outputs[0]], seed=10_000), 0.4, 0.6)
    made["untrained"] = yield from scaled(_outputs(Engine(config), prompts[: outputs[1]], seed=0), 0.6, 0.65)
    for number, (name, content) in enumerate(others.items()):
        start, width = 0.65 + 0.35 * number / len(others), 0.35 / len(others)
        other = Engine(config)
        yield from scaled(_trained(other, content, seconds * OTHER_SHARE), start, start + width / 2)
        drawn = _outputs(other, prompts[: outputs[1]], seed=0)
        made[f"other {name}"] = yield from scaled(drawn, start + width / 2, start + width)
    kinds = tuple(_judged(engine, name, made[name], length) for name in sorted(made, key=_order) for length in LENGTHS)
    bits = float(np.mean([np.mean(costs) for _, costs in made["healthy"]]))
    yield SafetyReport(kinds, bits, trained, time.process_time() - began, calibration.num_generations)


def _trained(engine: Engine, data: bytes, seconds: float) -> Generator[float, None, Trained]:
    return train_on_cpu_clock(engine, bytes_in_memory(data), TrainingPlan(seconds=seconds))


def _outputs(engine: Engine, prompts: Sequence[bytes], *, seed: int) -> Generator[float, None, list[Output]]:
    """One output after each prompt, at the temperatures of calibration in turn."""
    made: list[Output] = []
    for number, prompt in enumerate(prompts):
        sampling = SamplingConfig(seed=seed + number, temperature=TEMPERATURES[number % len(TEMPERATURES)])
        generation, _ = yield from scaled(
            engine.infer_steps(prompt, max(LENGTHS), sampling), number / len(prompts), (number + 1) / len(prompts)
        )
        made.append((generation.data, generation.costs))
    return made


def _without_a_model(data: NDArray[np.uint8], count: int) -> dict[str, list[Output]]:
    """What collapsed models write, and noise."""
    random, length = np.random.default_rng(0), max(LENGTHS)
    known = np.argsort(-np.bincount(data, minlength=256), kind="stable")[: count // 2]
    repeated = [*known, *random.choice(256, count - len(known), replace=count > 256)]
    starts, periods = random.integers(0, len(data) - 32, count), random.integers(2, 33, count)
    cycles = [np.resize(data[start : start + period], length).tobytes() for start, period in zip(starts, periods, strict=True)]
    return {
        "one byte": [(bytes([byte]) * length, ()) for byte in repeated],
        "cycle": [(cycle, ()) for cycle in cycles],
        "noise": [(random.integers(0, 256, length, dtype=np.uint8).tobytes(), ()) for _ in range(count)],
    }


def _prompts(held: bytes, count: int) -> list[bytes]:
    starts = np.random.default_rng(1).integers(0, len(held) - PROMPT_BYTES, count)
    return [held[start : start + PROMPT_BYTES] for start in starts]


def _judged(engine: Engine, name: str, outputs: Sequence[Output], length: int) -> Kind:
    """The beginnings of the outputs, of that length."""
    bits = [bytes_to_bits(data[:length]) for data, _ in outputs]
    verdicts = [
        judge(part, engine.reference, engine.config.floors, standard=engine.standard, costs=costs[:length])
        for part, (_, costs) in zip(bits, outputs, strict=True)
    ]
    by_default = [judge(part, engine.reference, Floors()).passed for part in bits]
    sessions = [verdicts[at : at + SESSION] for at in range(0, len(verdicts) - BURN_IN + 1, SESSION)]
    return Kind(
        name=name,
        num_bytes=length,
        num_outputs=len(outputs),
        passed=float(np.mean([verdict.passed for verdict in verdicts])),
        passed_by_default=float(np.mean(by_default)),
        triggered=float(np.mean([_triggers(session) for session in sessions])) if sessions else 0.0,
    )


def _triggers(verdicts: Sequence[Verdict]) -> bool:
    gate = Gate()
    return any(gate.observe(verdict).triggered for verdict in verdicts)


def _order(name: str) -> int:
    known = ("healthy", "untrained", "one byte", "cycle", "noise")
    return known.index(name) if name in known else len(known)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
