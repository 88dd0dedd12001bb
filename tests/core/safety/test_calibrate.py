"""Calibration: healthy generations pass afterwards, sick ones do not; it stays with the model; bad input changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bitlm_core import (
    ConfigError,
    DiffusionSampling,
    Engine,
    EngineConfig,
    Floors,
    Generation,
    ModelStateError,
    SamplingConfig,
    Template,
    adopt_floors,
    bytes_to_bits,
    calibrate_floors,
    calibrate_steps,
)
from bitlm_core.safety.calibrate import Calibration
from bitlm_core.safety.gate import judge
from bitlm_core.safety.standard import pair_cost, pair_counts, pair_excess
from tests.conftest import run

QUANTILE, LENGTHS = 0.1, (64, 128)


@pytest.fixture(scope="module")
def held(text: bytes) -> np.ndarray:
    return np.frombuffer(text[60_000:90_000], np.uint8)


@pytest.fixture(scope="module")
def found(byte_engine: Engine, held: np.ndarray) -> Calibration:
    return run(calibrate_steps(byte_engine, held, QUANTILE, lengths=LENGTHS))


@pytest.fixture
def calibrated(byte_engine: Engine, found: Calibration) -> Iterator[Engine]:
    """The engine that others use too: it is put back as it was."""
    before = byte_engine.config
    adopt_floors(byte_engine, found)
    yield byte_engine
    byte_engine.config, byte_engine.standard = before, None


def test_healthy_generations_pass_at_every_length(calibrated: Engine, text: bytes) -> None:
    passed = 0
    for seed in range(1000, 1030):
        sampling = SamplingConfig(seed=seed, temperature=(1.0, 0.8, 0.7)[seed % 3])
        start = 65_000 + 31 * seed % 20_000
        made: Generation
        made, verdict = run(calibrated.infer_steps(text[start : start + 8], (64, 100, 128)[seed % 3], sampling, "warn"))
        assert verdict is not None and verdict.judged and len(made.costs) == len(made.data)
        assert sum(made.costs) / len(made.costs) == pytest.approx(made.bits_per_byte)
        passed += verdict.passed
    assert passed >= 25  # of 30, where 27 are promised: fewer come about once in 30,000 times


def test_sick_outputs_fail(calibrated: Engine, found: Calibration) -> None:
    random = np.random.default_rng(0)
    prose = np.frombuffer(b"what is it that the function returns to its caller? " * 4, np.uint8)
    other = b"def chained(self, *, key=None):\n    return self._items[key] if key in self._items else {'k': [0, 1], 'v': ()}\n"
    sick = {
        "one byte": b"e" * 128,
        "cycle": b"the " * 32,
        "noise": random.integers(0, 256, 128, dtype=np.uint8).tobytes(),
        "shuffled": bytes(random.permutation(prose)),
        "other": other * 2,
    }
    for what, data in sick.items():
        verdict = judge(bytes_to_bits(data), calibrated.reference, found.floors, standard=found.standard)
        assert not verdict.passed, what


def test_what_diffusion_draws_is_judged_by_what_was_calibrated(calibrated: Engine) -> None:
    template = Template.between(b"", LENGTHS[0])
    _, verdict = run(calibrated.diffusion_sample_steps(template, DiffusionSampling(steps=1), "warn"))
    assert verdict is not None and verdict.judged and "pair cost" in {check.metric for check in verdict.checks}


def test_it_is_kept_with_the_model_and_learning_does_not_move_it(calibrated: Engine, found: Calibration) -> None:
    tensors, header = calibrated.state()
    again = Engine.from_state(tensors, header)
    assert again.config.floors == found.floors and again.standard is not None
    assert np.array_equal(again.standard, found.standard)
    for damage in ({"standard": tensors["standard"][:-1]}, {}):
        kept = {name: value for name, value in tensors.items() if name != "standard"} | damage
        with pytest.raises(ModelStateError):
            Engine.from_state(kept, header)
    with pytest.raises(ModelStateError, match="together"):
        Engine.from_state(tensors, header | {"config": calibrated.config.model_copy(update={"floors": Floors()}).model_dump()})


def test_looking_changes_nothing_and_every_row_holds_its_median(
    byte_engine: Engine, held: np.ndarray, found: Calibration
) -> None:
    steps = calibrate_steps(byte_engine, held[:2000], 0.2, lengths=(64,), seed=3)
    shares = [next(steps) for _ in range(5)]
    assert shares == sorted(shares) and 0 < shares[-1] < 1
    steps.close()
    assert byte_engine.config.floors == Floors() and byte_engine.standard is None
    assert [row.num_bytes for row in found.floors.calibrated] == list(LENGTHS) and found.num_generations == 40
    for row in found.floors.calibrated:
        for one in (row.k, row.c, row.s, row.pairs, row.excess, row.cost):
            assert one.low < one.usual < one.high
    short, long = found.floors.calibrated
    assert short.s.usual < long.s.usual  # short outputs are less alike by chance alone
    assert (found.floors.k, found.floors.c, found.floors.s) == (0, 0, 0)


def test_what_knows_nothing_cannot_be_calibrated(config_of: Callable[..., EngineConfig], held: np.ndarray) -> None:
    untrained = Engine(config_of("byte", mixing=None))
    with pytest.raises(ModelStateError, match="Train the model longer"):
        run(calibrate_steps(untrained, held, 0.2, lengths=(64,)))
    assert untrained.config.floors == Floors() and untrained.standard is None


def test_bad_input_is_refused(byte_engine: Engine, held: np.ndarray) -> None:
    for data, quantile, lengths, text in (
        (held, 0.5, LENGTHS, "between 0.001 and 0.2"),
        (held, 0.1, (32,), "64 bytes at least"),
        (held, 0.1, (), "one or more"),
        (held[:255], 0.1, LENGTHS, "255 bytes are too few.*at least 256"),
    ):
        with pytest.raises(ConfigError, match=text):
            next(calibrate_steps(byte_engine, data, quantile, lengths=lengths))


def test_pair_costs_by_hand() -> None:
    data = np.frombuffer(b"abab", np.uint8)
    pairs = pair_counts(data)
    assert pairs[ord("a"), ord("b")] == 2 and pairs[ord("b"), ord("a")] == 1 and pairs.sum() == 3
    alone = {"a": (1 + 0.5) / (3 + 128), "b": (2 + 0.5) / (3 + 128)}
    costs = [-np.log2((2 + 4 * alone["b"]) / (2 + 4)), -np.log2((1 + 4 * alone["a"]) / (1 + 4))]
    aba = np.frombuffer(b"aba", np.uint8)
    assert pair_cost(aba, pairs) == pytest.approx(sum(costs) / 2)
    entropy = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert pair_excess(aba, pairs) == pytest.approx(sum(costs) / 2 - entropy)


def test_the_model_demands_what_was_found(byte_engine: Engine, held: np.ndarray) -> None:
    before = byte_engine.config
    floors = calibrate_floors(byte_engine, held[:5000], 0.2, lengths=(64,))
    assert byte_engine.config.floors == floors and byte_engine.standard is not None and byte_engine.standard.sum() == 4999
    byte_engine.config, byte_engine.standard = before, None
