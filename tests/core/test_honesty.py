"""The two honesty tests, for each architecture with and without context mixing, and for context mixing alone.

1. No look-ahead: later bits never move earlier predictions, not by one bit of one float.
2. Lossless: real text, coded with the model's own probabilities, decodes to itself and is as small as was claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bitlm_core import (
    ByteData,
    Engine,
    EngineConfig,
    MixingConfig,
    ModelCodec,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    compress_steps,
    grow,
    preset_config,
)
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder
from bitlm_core.mixing.expert import carried_path_logits, expert_path_logits
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.scoring.likelihood import total_nats
from tests.conftest import run


def all_logits(engine: Engine, data: np.ndarray, *, learn: bool) -> np.ndarray:
    """[N, 8] what every bit of a stream is predicted with, as evaluation does it."""
    windows = half_overlapping(len(data), engine.config.model.max_bytes)
    expert = np.concatenate([logits for _, logits in expert_path_logits(engine.model, data, windows)]) if engine.model else None
    if engine.mixer is None:
        return expert
    mixer = engine.mixer.copy()
    mixer.start_document()
    return mixer.read(data, expert, learn=learn)


def leaks(logits_of: Callable[[np.ndarray], np.ndarray], data: np.ndarray) -> bool:
    """Whether a bit that is changed, and noise after it, move any prediction up to that bit's own."""
    before = logits_of(data)
    random = np.random.default_rng(11)
    for _ in range(6):
        place, bit = int(random.integers(len(data))), int(random.integers(8))
        changed = data.copy()
        changed[place] ^= 1 << (7 - bit)
        changed[place + 1 :] = random.integers(0, 256, len(data) - place - 1)
        after = logits_of(changed)
        if not np.array_equal(before[:place], after[:place]):
            return True
        if not np.array_equal(before[place, : bit + 1], after[place, : bit + 1]):
            return True
    return False


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("mixing", [True, False])
def test_no_look_ahead(trained: Engine, text: bytes, learn: bool, mixing: bool) -> None:
    engine = Engine(trained.config.model_copy(update={} if mixing else {"mixing": None}))
    engine.model.load_state_dict(trained.model.state_dict())
    engine.mixer = trained.mixer if mixing else None
    data = np.frombuffer(text[100_000 : 100_000 + 4 * engine.config.model.max_bytes], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(engine, changed, learn=learn), data)


@pytest.fixture(scope="module")
def mix(training_data: ByteData) -> Engine:
    """Context mixing alone, after it has read its data. Tests must leave it as it is."""
    engine = Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8)))
    for _ in engine.train_steps(training_data, TrainingPlan(steps=1)):
        pass
    return engine


@pytest.mark.parametrize("learn", [False, True])
def test_context_mixing_alone_does_not_look_ahead(mix: Engine, text: bytes, learn: bool) -> None:
    data = np.frombuffer(text[100_000:101_000], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(mix, changed, learn=learn), data)


def test_context_mixing_alone_is_lossless_and_as_small_as_claimed(mix: Engine, text: bytes) -> None:
    data = text[200_000:203_000]
    coded = coded_by(mix, data, None)
    assert decoded_by(mix, coded, len(data), None) == data
    claimed = run(mix.evaluate_steps(np.frombuffer(data, np.uint8)))
    assert 8 * len(coded) / len(data) == pytest.approx(claimed.bits_per_byte, rel=0.005)
    assert claimed.bits_per_byte < 4


def peek_at_the_next_byte(data: np.ndarray) -> np.ndarray:
    return np.repeat(np.roll(data, -1)[:, None], 8, axis=1)


def peek_at_the_same_bit(data: np.ndarray) -> np.ndarray:
    return np.unpackbits(data[:, None], axis=1)


@pytest.mark.parametrize("peek", [peek_at_the_next_byte, peek_at_the_same_bit])
def test_a_leak_would_be_seen(
    config_of: Callable[..., EngineConfig], text: bytes, peek: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The test above can fail: the same check sees a predictor that peeks, and not the one it was made of."""
    engine = Engine(config_of("byte"))
    data = np.frombuffer(text[:100], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(engine, changed, learn=True), data)
    assert leaks(lambda changed: all_logits(engine, changed, learn=True) + peek(changed), data)


@pytest.mark.parametrize("mixing", [True, False])
def test_lossless_and_as_small_as_claimed(trained: Engine, text: bytes, mixing: bool) -> None:
    length = 3000 if trained.config.model.architecture == "byte" else 800
    data = text[200_000 : 200_000 + length]
    engine = Engine(trained.config.model_copy(update={} if mixing else {"mixing": None}))
    engine.model.load_state_dict(trained.model.state_dict())
    engine.mixer = trained.mixer if mixing else None
    coded = coded_by(engine, data, None)
    assert decoded_by(engine, coded, length, None) == data
    claimed = run(trained.evaluate_steps(np.frombuffer(data, np.uint8)))
    bits_per_byte = claimed.bits_per_byte if mixing else claimed.bits_per_byte_network
    assert 8 * len(coded) / length == pytest.approx(bits_per_byte, rel=0.005)
    assert bits_per_byte < 8


FORMS: dict[str, dict[str, Any]] = {
    "chunked": {"chunk_size": 20, "overlap": 9},
    "differential": {"attention": "differential", "nhead": 2},
    "halting": {"use_act": True, "act_threshold": 0.6},
    "sinusoidal": {"position": "sinusoidal"},
    "reversible": {"reversible": True},
    "checkpointed": {"use_checkpoint": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_honest(config_of: Callable[..., EngineConfig], architecture: str, form: str, text: bytes) -> None:
    """Both tests, for a network that has learned a little, over windows and (where positions do not end) carried."""
    plain = config_of(architecture, mixing=None)
    sizes = {"d_model": 64, "max_seq_len": plain.model.max_seq_len, **FORMS[form]}
    engine = Engine(plain.model_copy(update={"model": preset_config("tiny", architecture, **sizes)}))  # type: ignore[arg-type]
    for _ in engine.train_steps(bytes_in_memory(text[:20_000]), TrainingPlan(steps=12)):
        pass
    length = 160 if architecture == "byte" else 60
    data = np.frombuffer(text[100_000 : 100_000 + length], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(engine, changed, learn=False), data)
    for locality in (None,) if form == "sinusoidal" else (None, engine.model.carrying(16, 8)):
        logits = all_logits(engine, data, learn=False)
        if locality:
            logits = np.concatenate([part for _, part in carried_path_logits(engine.model, data, 16, locality)])
        coded = coded_by(engine, data.tobytes(), locality)
        claimed = total_nats(logits, data) / math.log(2)
        assert 8 * len(coded) == pytest.approx(claimed, rel=0.005, abs=9)  # the coder ends with up to one byte
        assert decoded_by(engine, coded, len(data), locality) == data.tobytes()


PATCHES: dict[str, dict[str, Any]] = {
    "entropy": {},
    "mixed": {"mixing": MixingConfig(memory_mib=8)},
    "monotonic": {"monotonic": True, "mean_patch_size": 3},
    "adaptive": {"adaptive": True, "mean_patch_size": 3},
    "space": {"patching": "space"},
    "fixed": {"patching": "fixed", "stride": 3},
    "memory": {"memory_span": 2},
    "differential": {"attention": "differential"},
    "chunked": {"chunk_size": 6, "overlap": 3},
}


@pytest.mark.parametrize("form", PATCHES)
def test_every_way_to_cut_patches_is_honest(form: str, text: bytes) -> None:
    """Both tests, for a network that has learned a little, and over more than one window."""
    fields = dict(PATCHES[form])
    mixing = fields.pop("mixing", None)
    sizes = {"d_model": 32, "nhead": 1, "num_layers": 1, "local_width": 32, "local_chunk": 16, "max_seq_len": 48}
    model = preset_config("tiny", "patch", **{**sizes, "ngram_rows": 256, **fields})
    training = TrainingConfig(batch_size=8, warmup_steps=2, window_bytes=48)
    engine = Engine(EngineConfig(model=model, training=training, mixing=mixing))
    for _ in engine.train_steps(bytes_in_memory(text[:20_000]), TrainingPlan(steps=12)):
        pass
    data = np.frombuffer(text[100_000:100_070], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(engine, changed, learn=True), data)
    coded = coded_by(engine, data.tobytes(), None)
    claimed = total_nats(all_logits(engine, data, learn=True), data) / math.log(2)
    assert 8 * len(coded) == pytest.approx(claimed, rel=0.005, abs=9)  # the coder ends with up to one byte
    assert decoded_by(engine, coded, len(data), None) == data.tobytes()
    assert claimed < 7 * len(data)


@pytest.mark.parametrize("kind", ["byte", "bit", "patch"])
def test_what_has_grown_is_honest(kind: str, text: bytes) -> None:
    """Both tests, for a network that has learned a little, has grown in every way, and has learned a little more."""
    sizes: dict[str, Any] = {"d_model": 16, "nhead": 1, "num_layers": 1, "max_seq_len": 20 * (9 if kind == "bit" else 1)}
    if kind != "bit":
        sizes["ngram_rows"] = 64
    model = preset_config("tiny", kind, **sizes, **({"local_width": 16} if kind == "patch" else {}))  # type: ignore[arg-type]
    engine = Engine(EngineConfig(model=model, training=TrainingConfig(batch_size=8, warmup_steps=2), mixing=None))
    for step in ("layer", "width", "context", None):
        for _ in engine.train_steps(bytes_in_memory(text[:20_000]), TrainingPlan(steps=4)):
            pass
        engine = grow(engine, step) if step else engine  # type: ignore[arg-type]
    data = np.frombuffer(text[100_000:100_050], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(engine, changed, learn=False), data)
    coded = coded_by(engine, data.tobytes(), None)
    claimed = total_nats(all_logits(engine, data, learn=False), data) / math.log(2)
    assert 8 * len(coded) == pytest.approx(claimed, rel=0.005, abs=9)  # the coder ends with up to one byte
    assert decoded_by(engine, coded, len(data), None) == data.tobytes()


def coded_by(engine: Engine, data: bytes, locality: Locality | None) -> bytes:
    encoder, predictor = ByteEncoder(), Predictor(engine.model, engine.mixer, adaptive=True, locality=locality)
    for byte in data:
        encoder.node(predictor.node_logits(), byte)
        predictor.advance(byte)
    return encoder.finish()


def decoded_by(engine: Engine, coded: bytes, length: int, locality: Locality | None) -> bytes:
    decoder = ByteDecoder(np.frombuffer(coded, np.uint8))
    predictor = Predictor(engine.model, engine.mixer, adaptive=True, locality=locality)
    decoded = bytearray()
    for _ in range(length):
        decoded.append(decoder.node(predictor.node_logits()))
        predictor.advance(decoded[-1])
    return bytes(decoded)


@pytest.mark.parametrize("architecture", ["byte"], indirect=True)
def test_containers_are_as_small_as_claimed(trained: Engine, text: bytes) -> None:
    """Counts on: what compression makes of text is what evaluation, learning on, says that it costs."""
    data = np.frombuffer(text[200_000:206_000], np.uint8)
    assert trained.mixer is not None
    mixer = trained.mixer.copy()
    mixer.start_document()
    claimed = total_nats(mixer.read(data), data) / math.log(2)
    container = run(ModelCodec(None, trained.mixer).compress_steps(data))
    assert 8 * len(container) == pytest.approx(claimed, rel=0.005, abs=8 * 48)  # and a header
    fresh = run(compress_steps(data, memory_mib=16))
    claimed = total_nats(ContextMixer(MixingConfig(memory_mib=16)).read(data), data) / math.log(2)
    assert 8 * len(fresh) == pytest.approx(claimed, rel=0.005, abs=8 * 48)
