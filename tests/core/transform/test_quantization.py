"""Quantised engines of each architecture: honest, saved small, loaded bit for bit; what they were made of stays."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    MixingConfig,
    ModelCodec,
    ModelConfig,
    ModelStateError,
    SamplingConfig,
    TrainingConfig,
    TrainingPlan,
    add_layer,
    bytes_in_memory,
    dequantize,
    preset_config,
    quantize,
    quantize_dynamic,
    quantize_steps,
    read_file,
    write_file,
)
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.scoring.likelihood import total_nats
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.objective import batch_loss
from bitlm_core.transform.straight_through import StraightThrough
from tests.conftest import run
from tests.core.test_honesty import all_logits, coded_by, decoded_by, leaks

SIZES: dict[str, dict[str, Any]] = {
    "byte": {"d_model": 32, "nhead": 1, "num_layers": 2, "max_seq_len": 32, "ngram_rows": 512, "diffusion": "shared"},
    "differential": {
        "d_model": 36,
        "nhead": 1,
        "num_layers": 1,
        "max_seq_len": 32,
        "attention": "differential",
        "use_act": True,
    },
    "bit": {"d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 9 * 20, "diffusion": "own"},
    "patch": {
        **{"d_model": 32, "nhead": 1, "num_layers": 1, "local_width": 32, "local_chunk": 16, "max_seq_len": 32},
        **{"ngram_rows": 300, "memory_span": 2, "diffusion": "own"},
    },
}


def an_engine(kind: str, text: bytes, *, mixing: bool = False) -> Engine:
    """Whose network has all weights filled, as a trained one's are."""
    architecture = "byte" if kind == "differential" else kind
    model = preset_config("tiny", architecture, **SIZES[kind])  # type: ignore[arg-type]
    training = TrainingConfig(batch_size=4, warmup_steps=2, use_autocast=False)
    engine = Engine(EngineConfig(model=model, training=training, mixing=MixingConfig(memory_mib=8) if mixing else None))
    assert engine.model is not None
    engine.model.prepare(np.frombuffer(text[:4000], np.uint8))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return engine


def as_bits(tensors: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    return {name: value.reshape(-1).view(torch.uint8).tolist() for name, value in tensors.items()}


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("kind", SIZES)
def test_a_quantised_engine_is_honest_and_comes_back_bit_for_bit(kind: str, mode: Any, text: bytes, tmp_path: Path) -> None:
    engine = an_engine(kind, text)
    before = as_bits(engine.model.state_dict())
    made = quantize(engine, mode)
    assert as_bits(engine.model.state_dict()) == before and engine.config.model.quantized is None
    assert (
        made.config.model.quantized == mode and made.config.model.model_copy(update={"quantized": None}) == engine.config.model
    )
    data = np.frombuffer(text[100_000:100_045], np.uint8).copy()
    assert not leaks(lambda changed: all_logits(made, changed, learn=False), data)
    logits = all_logits(made, data, learn=False)
    assert np.abs(logits - all_logits(engine, data, learn=False)).max() > 0

    write_file(tmp_path / "x", *made.state())
    loaded = Engine.from_state(*read_file(tmp_path / "x", "x"))
    assert as_bits(loaded.model.state_dict()) == as_bits(made.model.state_dict())
    assert loaded.config == made.config and loaded.model.networks[-1].config.quantized == mode
    assert np.array_equal(all_logits(loaded, data, learn=False), logits)

    coded = coded_by(made, data.tobytes(), None)
    assert 8 * len(coded) == pytest.approx(total_nats(logits, data) / math.log(2), rel=0.005, abs=9)
    assert decoded_by(loaded, coded, len(data), None) == data.tobytes()


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("kind", ["byte", "differential", "patch"])
def test_the_kernels_run_its_integers(kind: str, mode: Any, text: bytes) -> None:
    """As PyTorch computes the same weights, but for activations of fifteen bits (and matrices that the kernels join)."""
    made = quantize(an_engine(kind, text), mode)
    data = np.frombuffer(text[100_000:100_045], np.uint8).copy()
    wanted = all_logits(made, data, learn=False)
    streams = FusedStreams(made.model)  # type: ignore[arg-type]
    found = streams.path_logits(data.tobytes())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05 if kind == "patch" else 2e-3)
    assert not np.array_equal(found, FusedStreams(made.model, weights="float32").path_logits(data.tobytes()))  # type: ignore[arg-type]
    stacks = streams._net if kind != "patch" else streams._net.last  # type: ignore[union-attr]
    assert stacks.narrow.size and not stacks.wide.size
    assert Predictor(made.model, None, adaptive=False).engine == "fused"
    generation, _ = run(made.infer_steps(b"The ", 20, SamplingConfig(seed=1)))
    explicit, _ = run(made.infer_steps(b"The ", 20, SamplingConfig(seed=1), weights="int8"))
    assert generation == explicit


@pytest.mark.parametrize(("mode", "most"), [("int8", 0.27), ("int4", 0.16)])
@pytest.mark.parametrize("architecture", ["byte", "bit", "patch"])
def test_what_is_saved_of_its_network_is_as_small_as_that(architecture: Any, mode: Any, most: float) -> None:
    config = EngineConfig(model=preset_config("tiny", architecture, num_layers=1), mixing=None)
    engine = Engine(config)
    named = [name for name, _ in engine.model.named_parameters()]
    tensors, header = quantize(engine, mode).state()
    others = sum(value.nbytes for name, value in tensors.items() if name.startswith("model.entropy."))
    assert others < (200_000 if architecture == "patch" else 1)  # tables of entropies, packed
    small = sum(value.nbytes for name, value in tensors.items() if name.removeprefix("model.").split("/")[0] in named)
    assert small <= most * 4 * engine.num_parameters
    assert not any(name.startswith("optimizer.") for name in tensors) and header["config"]["model"]["quantized"] == mode


def test_mixing_and_moments(text: bytes) -> None:
    """Context mixing stays; moments go, and carried keys and values with them. The engine that it is made of keeps them."""
    engine = an_engine("byte", text, mixing=True)
    data = bytes_in_memory(text[:6000])
    list(engine.train_full_sequence(data, ctx_bits=9 * 16))
    before, header = engine.state()
    made = quantize_dynamic(engine)
    after, told = made.state()
    assert any(name.startswith("carried.") for name in before) and header["carried"]
    assert not any(name.startswith(("carried.", "optimizer.")) for name in after) and not told["carried"]
    mixer = [name for name in before if name.startswith("mixer.")]
    assert mixer and all(torch.equal(before[name], after[name]) for name in mixer)
    assert as_bits(engine.state()[0]) == as_bits(before) and made.step == engine.step
    again = dequantize(made)
    assert as_bits(again.model.state_dict()) == as_bits(made.model.state_dict())
    next(again.train_steps(data, TrainingPlan(steps=1)))
    assert quantize(made, "int4").config.model.quantized == "int4" and made.config.model.quantized == "int8"


def test_the_compressed_format_knows_a_loaded_model_again(text: bytes) -> None:
    made = quantize(an_engine("byte", text), "int4")
    loaded = Engine.from_state(*made.state())
    assert ModelCodec(loaded.model, None).identity == ModelCodec(made.model, None).identity


def test_a_fresh_engine_of_a_quantised_configuration_lies_on_its_grid() -> None:
    config = EngineConfig(model=ModelConfig(d_model=32, nhead=1, num_layers=1, quantized="int4"), mixing=None)
    engine = Engine(config)
    assert as_bits(Engine.from_state(*engine.state()).model.state_dict()) == as_bits(engine.model.state_dict())
    assert "quantized" not in ModelConfig().model_dump() and config.model.model_dump()["quantized"] == "int4"


def test_rounding_is_the_identity_to_gradients(text: bytes) -> None:
    """Those of the rounded weights, given to the exact ones, which stay; tables are rounded anew where they were met."""
    engine = an_engine("byte", text)
    model, twin = engine.model, quantize(engine, "int4").model
    assert model is not None and twin is not None
    exact = {name: value.clone() for name, value in model.state_dict().items()}
    rounded = StraightThrough(model, "int4")
    data = bytes_in_memory(text[:4000])
    for step in range(3):
        batch = sample_windows(data, batch=2, length=32, seed=0, step=step)
        for network, around in ((model, rounded), (twin, torch.enable_grad())):
            network.zero_grad()
            with around:
                batch_loss(network, batch, "causal", torch.Generator()).minimised.backward()
        grads = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
        for name, parameter in model.named_parameters():
            if name in grads:
                assert torch.equal(parameter.grad.to_dense(), grads[name].to_dense()), name
        assert all(torch.equal(value, exact[name]) for name, value in model.state_dict().items())
        with torch.no_grad():  # as an optimizer would: what was met moves
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad.to_dense()
        exact = {name: value.clone() for name, value in model.state_dict().items()}
        other = copy.copy(engine)
        twin = quantize(other, "int4").model


def test_learning_with_rounded_weights_lowers_the_loss(byte_engine: Engine, training_data: ByteData) -> None:
    held = training_data.array[20_000:24_000]

    def loss(engine: Engine) -> float:
        return float(run(engine.evaluate_steps(np.asarray(held))).bits_per_byte_network or 0)

    before = as_bits({"w": byte_engine.model.stack.blocks[0].attention.qkv.weight})
    config = byte_engine.config.model_copy(update={"mixing": None})
    engine = Engine(config)
    engine.model.load_state_dict(byte_engine.model.state_dict())
    learned = quantize(engine, "int4", qat_steps=12, data=training_data)
    assert loss(learned) < loss(quantize(engine, "int4")) - 0.01
    assert as_bits({"w": byte_engine.model.stack.blocks[0].attention.qkv.weight}) == before
    assert (learned.step, engine.step) == (12, 0)


@pytest.mark.parametrize("kind", ["bit", "patch"])
def test_every_architecture_can_learn_with_rounded_weights(kind: str, text: bytes) -> None:
    made = quantize(an_engine(kind, text), "int4", qat_steps=2, data=bytes_in_memory(text[:2000]))
    assert made.step == 2 and as_bits(Engine.from_state(*made.state()).model.state_dict()) == as_bits(made.model.state_dict())


def test_refusals_change_nothing(text: bytes) -> None:
    engine = an_engine("differential", text)
    data = bytes_in_memory(text[:2000])
    with pytest.raises(ConfigError, match="qat_steps=3 without data"):
        quantize(engine, "int4", qat_steps=3)
    with pytest.raises(ConfigError, match="data without qat_steps"):
        quantize(engine, "int4", data=data)
    with pytest.raises(ConfigError, match="qat_steps=-1 is not between 0"):
        quantize(engine, qat_steps=-1, data=data)
    with pytest.raises(ConfigError, match="architecture='mix' has no network that could be quantised"):
        quantize(Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))))
    with pytest.raises(ConfigError, match="float32 already"):
        dequantize(engine)
    made = quantize(engine, "int8")
    with pytest.raises(ConfigError, match=r"the network is quantised \(int8\).*quantize_model\(mode='float32'\)"):
        next(made.train_steps(data, TrainingPlan(steps=1)))
    with pytest.raises(ConfigError, match=r"quantised \(int8\), and what would be new of it lies on no grid"):
        add_layer(made)
    tensors, header = made.state()
    name = next(name for name in tensors if name.endswith("/codes"))
    tensors[name] = tensors[name].clone()
    tensors[name][0] = 1
    with pytest.raises(ModelStateError, match="codes of a row whose largest is not 126"):
        Engine.from_state(tensors, header)
    with torch.no_grad():
        engine.model.head.weight[0, 0] = torch.nan
    with pytest.raises(ModelStateError, match="not finite"):
        next(quantize_steps(engine, "int8"))
