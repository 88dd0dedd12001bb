"""infer and infer_long on a small trained engine."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    Floors,
    ResourceLimitError,
    SafetyGateError,
    SamplingConfig,
    TrainingPlan,
    bits_to_bytes,
    preset_config,
)
from tests.conftest import run


def test_the_same_seed_gives_the_same_bytes(trained: Engine) -> None:
    def drawn(seed: int) -> bytes:
        return run(trained.infer_steps(b"The ", 24, SamplingConfig(seed=seed)))[0].data

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_generation_runs_past_the_window(trained: Engine) -> None:
    length = trained.config.model.max_bytes + 40
    generation, verdict = run(trained.infer_steps(b"The ", length, SamplingConfig(temperature=0.8), "warn"))
    assert len(generation.data) == length
    assert verdict is not None and verdict.judged


def test_bits_per_byte_of_a_generation_is_its_cost(trained: Engine) -> None:
    generation, _ = run(trained.infer_steps(b"T", 40, SamplingConfig(temperature=0.5, seed=2)))
    whole = run(trained.evaluate_steps(np.frombuffer(b"T" + generation.data, np.uint8)))
    alone = run(trained.evaluate_steps(np.frombuffer(b"T", np.uint8)))
    cost = 41 * whole.bits_per_byte_static - alone.bits_per_byte_static
    assert 40 * generation.bits_per_byte == pytest.approx(cost, rel=0.02)


def test_utf8_is_valid_even_from_a_model_of_noise(config_of) -> None:  # type: ignore[no-untyped-def]
    engine = Engine(config_of("byte"))
    generation, _ = run(engine.infer_steps("é".encode()[:1], 50, SamplingConfig(constraint="utf8", seed=3)))
    assert ("é".encode()[:1] + generation.data).decode("utf-8")


def test_strict_safety_withholds_a_collapsed_output(trained: Engine) -> None:
    strict = Engine(trained.config.model_copy(update={"floors": Floors(c=1.0)}))
    strict.model.load_state_dict(trained.model.state_dict())
    strict.reference = trained.reference
    with pytest.raises(SafetyGateError, match="< 1: output repeats one byte") as caught:
        run(strict.infer_steps(b"The ", 64, SamplingConfig(temperature=0), "strict"))
    assert caught.value.verdict.c < 1.0
    _, verdict = run(strict.infer_steps(b"The ", 64, SamplingConfig(temperature=0), "warn"))
    assert verdict is not None and not verdict.passed


def test_infer_long_predicts_every_bit_once(trained: Engine, text: bytes) -> None:
    data = np.frombuffer(text[50_000:50_300], np.uint8)
    found = run(trained.infer_long_steps(data, ctx_bits=32 * 9, overlap=8 * 9))
    assert len(found.predicted) == 300 and len(found.bits) == 9 * 300
    assert [window.start_byte for window in found.windows][:3] == [0, 32, 56]
    assert sum(window.num_bytes for window in found.windows) == 300
    assert (found.ctx_bits, found.overlap) == (288, 72)
    decoded = bits_to_bytes(found.bits).data  # strict: every parity group adds up
    assert len(decoded) == 300
    right = (np.unpackbits(np.frombuffer(decoded, np.uint8)) == np.unpackbits(data)).mean()
    mean = sum(window.accuracy * window.num_bytes for window in found.windows) / 300
    assert right == pytest.approx(mean) and right > 0.7
    assert all(0 <= value <= 1 for window in found.windows for value in (window.k, window.c, window.s))


def test_infer_long_uses_at_most_the_model_s_window(trained: Engine, text: bytes) -> None:
    data = np.frombuffer(text[:200], np.uint8)
    found = run(trained.infer_long_steps(data, ctx_bits=1 << 20, overlap=0))
    assert found.ctx_bits == trained.config.model.max_bytes * 9


def test_infer_long_halves_an_overlap_that_the_model_s_window_cannot_hold(trained: Engine, text: bytes) -> None:
    data, size = np.frombuffer(text[:200], np.uint8), trained.config.model.max_bytes
    found = run(trained.infer_long_steps(data, ctx_bits=1 << 20, overlap=1 << 19))
    assert (found.ctx_bits, found.overlap) == (9 * size, 9 * (size // 2))
    assert len(found.predicted) == 200


def test_infer_long_may_carry_on_instead_of_reading_overlaps_again(trained: Engine, text: bytes) -> None:
    data = np.frombuffer(text[50_000:50_150], np.uint8)
    found = run(trained.infer_long_steps(data, ctx_bits=32 * 9, overlap=8 * 9, carry=True))
    assert [(window.start_byte, window.num_bytes) for window in found.windows] == [
        (0, 32),
        (32, 32),
        (64, 32),
        (96, 32),
        (128, 22),
    ]
    assert len(found.predicted) == 150 and (found.ctx_bits, found.overlap) == (288, 72)
    again = run(trained.infer_long_steps(data, ctx_bits=32 * 9, overlap=8 * 9))
    assert found.windows[0] == again.windows[0]  # with nothing before it, a window is the same


def test_with_chunks_carried_predictions_do_not_depend_on_where_windows_end(text: bytes, training_data: ByteData) -> None:
    model = preset_config("tiny", d_model=64, nhead=1, max_seq_len=64, chunk_size=16)
    engine, data = Engine(EngineConfig(model=model, mixing=None)), np.frombuffer(text[:150], np.uint8)
    for _ in engine.train_steps(training_data, TrainingPlan(steps=10)):
        pass
    found = [run(engine.infer_long_steps(data, ctx_bits=9 * size, overlap=0, carry=True)) for size in (5, 16, 50)]
    costs = [sum(window.bits_per_byte * window.num_bytes for window in each.windows) for each in found]
    assert {each.predicted for each in found} == {found[0].predicted}
    assert costs == pytest.approx([costs[0]] * 3, rel=1e-5)
    apart = run(engine.infer_long_steps(data, ctx_bits=9 * 5, overlap=0))
    assert sum(window.bits_per_byte * window.num_bytes for window in apart.windows) != pytest.approx(costs[0], rel=1e-5)


def test_positions_that_end_cannot_be_carried(text: bytes) -> None:
    engine = Engine(EngineConfig(model=preset_config("tiny", max_seq_len=64, position="sinusoidal"), mixing=None))
    with pytest.raises(ConfigError, match="nothing can be carried past it"):
        run(engine.infer_long_steps(np.frombuffer(text[:150], np.uint8), ctx_bits=450, overlap=0, carry=True))


@pytest.mark.parametrize(("length", "overlap", "limit"), [((16 << 20) + 1, 0, 16 << 20), (70_000, 81, 65_536)])
def test_infer_long_refuses_more_than_it_may_hold(trained: Engine, length: int, overlap: int, limit: int) -> None:
    with pytest.raises(ResourceLimitError, match="part of the data") as caught:
        run(trained.infer_long_steps(np.zeros(length, np.uint8), ctx_bits=90, overlap=overlap))
    assert caught.value.limit == limit < caught.value.estimate


def test_nothing_to_generate_is_refused(trained: Engine) -> None:
    with pytest.raises(ConfigError, match="max_new_bytes=0"):
        run(trained.infer_steps(b"a", 0, SamplingConfig()))


@pytest.mark.parametrize(("ctx_bits", "overlap"), [(8, 0), (90, 90), (90, 900), (90, -9)])
def test_infer_long_refuses_windows_that_cannot_move(trained: Engine, ctx_bits: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        run(trained.infer_long_steps(np.zeros(50, np.uint8), ctx_bits=ctx_bits, overlap=overlap))
