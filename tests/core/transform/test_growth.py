"""Growth: what the network knows stays, to rounding; it learns on as before; and the engine it grew from is untouched."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    Growth,
    MixingConfig,
    ModelStateError,
    SamplingConfig,
    TrainingConfig,
    TrainingPlan,
    add_layer,
    double_length,
    double_width,
    grow,
    grown_config,
    next_growth,
    preset_config,
    read_file,
    write_file,
)
from tests.conftest import run

STEPS: tuple[Growth, ...] = get_args(Growth)
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("byte", {"attention": "full", "use_checkpoint": True}),
    ("byte", {"chunk_size": 8, "overlap": 4, "position": "sinusoidal", "diffusion": "shared"}),
    ("byte", {"attention": "differential", "use_act": True, "reversible": True, "ngram_rows": 0}),
    ("bit", {"diffusion": "own", "position": "sinusoidal", "dropout": 0.1}),
    ("bit", {"chunk_size": 32, "use_act": True, "act_threshold": 0.6}),
    ("patch", {"diffusion": "own", "position": "sinusoidal", "attention": "differential"}),
    ("patch", {"memory_span": 2, "use_act": True, "slots": 3, "ngram_orders": (3, 5)}),
]


def an_engine(architecture: str, *, mixing: MixingConfig | None = None, **form: Any) -> Engine:
    """One whose zero-initialised parts were filled, so that nothing is hidden by zeros."""
    sizes: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 2, "max_seq_len": 216 if architecture == "bit" else 24}
    if architecture == "patch":
        sizes |= {"local_width": 24, "local_heads": 2}
    if architecture != "bit":
        sizes["ngram_rows"] = 64
    model = preset_config("tiny", architecture, **{**sizes, **form})  # type: ignore[arg-type]
    training = TrainingConfig(batch_size=4, telemetry_every=100, use_autocast=False, max_grad_norm=1e6)
    engine = Engine(EngineConfig(model=model, training=training, mixing=mixing, seed=2))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return engine


def trained(engine: Engine, data: ByteData, steps: int = 3, **plan: Any) -> Engine:
    for _ in engine.train_steps(data, TrainingPlan(steps=steps, **plan)):
        pass
    return engine


@torch.no_grad()
def answers(engine: Engine, window: Tensor) -> list[Tensor]:
    """Causal, as distributions and masked: all logits that a network has."""
    found = [engine.model.path_logits(window), engine.model.predicted_nodes(window[:1], start_bytes=20)]
    if engine.config.model.architecture != "patch" or engine.config.model.diffusion:
        known = torch.full_like(window, 255)
        known[:, 5], known[:, 7] = 0, 0b1110_0000
        found.append(engine.model.predict_masked(window, known).nodes)
    return found


@pytest.fixture(scope="module")
def window(text: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(text[5000:5048], np.uint8).astype(np.int64)).view(2, 24)


def same(one: Engine, other: Engine) -> bool:
    (tensors, header), (others, told) = one.state(), other.state()
    return header == told and tensors.keys() == others.keys() and all(torch.equal(tensors[n], others[n]) for n in tensors)


@pytest.mark.parametrize(("architecture", "form"), FORMS)
def test_logits_stay_through_every_growth(architecture: str, form: dict[str, Any], window: Tensor) -> None:
    engine = an_engine(architecture, **form)
    before, state = answers(engine, window), {n: v.clone() for n, v in engine.state()[0].items()}
    for step in STEPS:
        grown = grow(engine, step, seed=7)
        for one, other in zip(before, answers(grown, window), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=1e-5)
        assert sum(p.numel() for p in grown.model.parameters()) == grown.num_parameters
    assert all(torch.equal(value, state[name]) for name, value in engine.state()[0].items())
    for step in (*STEPS, "width"):  # all of them, one after the other
        engine = grow(engine, step, seed=8)
    for one, other in zip(before, answers(engine, window), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


def test_sizes_grow_as_told() -> None:
    config = an_engine("patch", position="sinusoidal").config
    assert grown_config(config, "layer").model.num_layers == 3
    assert grown_config(config, "context").model.max_seq_len == 48
    wide = grown_config(config, "width").model
    assert (wide.d_model, wide.nhead, wide.dim_feedforward, wide.sinusoid_copies) == (32, 4, 128, 2)
    assert (wide.patch.local_width, wide.patch.local_heads) == (48, 4)
    assert wide.num_layers == config.model.num_layers


@pytest.mark.parametrize("architecture", ["byte", "bit", "patch"])
def test_training_goes_on_without_a_jump(architecture: str, training_data: ByteData) -> None:
    """After one step more, the loss on the next batch is at most 0.5 % above what the ungrown engine has there."""
    engine = an_engine(architecture)
    training = engine.config.training.model_copy(update={"window_bytes": 24})  # so that batches stay what they are
    engine.set_training(training)
    trained(engine, training_data, 10)

    def after_one_step(grown: Engine) -> float:
        return [report.loss for report in grown.train_steps(training_data, TrainingPlan(steps=2))][1]

    engines = [grow(engine, step, seed=1) for step in STEPS]
    wanted = after_one_step(engine)
    assert max(after_one_step(grown) for grown in engines) <= 1.005 * wanted


def halves(name: str, engine: Engine) -> tuple[Tensor, Tensor]:
    """The gradients of the two copies of what a parameter makes, after the loss of one batch."""
    parameter = dict(engine.model.named_parameters())[name]
    assert parameter.grad is not None
    one, other = parameter.grad.chunk(2, dim=-1 if "embedding" in name else 0)
    return one, other


def test_the_copies_learn_apart(window: Tensor) -> None:
    """Their gradients add up to that of the one they were, and differ by much."""
    engine = an_engine("byte", attention="full", ngram_rows=0)
    wide = double_width(engine, seed=3)
    for each in (engine, wide):
        each.model.path_logits(window).square().mean().backward()
    for name in ("embedding.byte", "stack.blocks.0.feedforward.up.weight", "stack.blocks.1.attention.out.weight"):
        one, other = halves(name, wide)
        if "embedding" not in name:  # what reads a copy has the gradient of what it is read for
            one, other = one[:, :16], other[:, :16]
        whole = dict(engine.model.named_parameters())[name].grad
        torch.testing.assert_close(one + other, whole[: len(one)], rtol=1e-3, atol=1e-6)
        assert float((one - other).norm()) > 0.05 * float(whole.norm())


def moments(engine: Engine) -> dict[str, Tensor]:
    return engine.trainer.state()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_moments_are_carried(optimizer: str, training_data: ByteData) -> None:
    engine = an_engine("byte", attention="differential", use_act=True)
    engine.set_training(engine.config.training.model_copy(update={"optimizer": optimizer}))
    trained(engine, training_data)
    before, taller, wider = moments(engine), moments(add_layer(engine)), moments(double_width(engine))
    assert all(torch.equal(value, taller[name]) for name, value in before.items())
    new = {name: value for name, value in taller.items() if name not in before}
    assert {name.replace("blocks.2.", "blocks.1.") for name in new} < before.keys()
    assert new and not any(value.any() for value in new.values())
    names = {
        "stack.blocks.0.feedforward.up.weight": 0.5,  # each copy of an output has half of the gradient
        "embedding.byte": 0.5,
        "head.weight": 1.0,  # logits are not copied
        "stack.blocks.0.halting.weight": 1.0,
    }
    checked = 0
    for path, value in before.items():
        name, _, key = path.rpartition("/")
        if name in names and key != "step":
            checked += 1
            share = names[name] ** (2 if key == "exp_avg_sq" else 1)
            copies = torch.cat([value, value], dim=-1)
            copies = copies if share == 1 or "embedding" in name else torch.cat([copies, copies])
            torch.testing.assert_close(wider[path], share * copies, rtol=0, atol=0)
    assert checked == (7 if optimizer == "muon" else 8)
    torch.testing.assert_close(wider["ngram_embedding.weight/sum"], before["ngram_embedding.weight/sum"] / 4, rtol=0, atol=0)
    shared = "stack.blocks.0.attention.difference.vectors/exp_avg"  # by all heads
    assert torch.equal(wider[shared], before[shared])


def test_a_new_layer_leaves_the_step_of_the_others_as_it_was(training_data: ByteData) -> None:
    """Bit for bit: what the new block's outputs learn does not yet move anything before it."""
    engine = trained(an_engine("byte"), training_data)
    taller = add_layer(engine)
    for each in (engine, taller):
        trained(each, training_data, 1)
    grown = dict(taller.model.named_parameters())
    before_last = {name: value for name, value in engine.model.named_parameters() if name != "head.weight"}
    assert all(torch.equal(value, grown[name]) for name, value in before_last.items())
    assert all(grown[f"stack.blocks.2.{name}.weight"].any() for name in ("attention.out", "feedforward.down"))


def test_what_is_beside_the_network_is_carried_and_the_rest_stays(training_data: ByteData, tmp_path: Any) -> None:
    """Mixer, reference, drift, counts and plan; through a file; and the run goes on where it was."""
    engine = an_engine("byte", mixing=MixingConfig(memory_mib=8))
    for report in engine.train_steps(training_data, TrainingPlan(steps=12)):
        if report.step == 10:
            break
    tensors, header = engine.state()
    tensors = {name: value.clone() for name, value in tensors.items()}
    grown = double_width(engine)
    found, told = grown.state()
    changed = {name for name in header if header[name] != told[name]}
    assert changed == {"config"} and grown.plan == engine.plan and told["config"]["last_growth"] == "width"
    kept = [name for name in tensors if not name.startswith(("model.", "optimizer."))]
    assert len(kept) > 5 and all(torch.equal(tensors[name], found[name]) for name in kept)
    write_file(tmp_path / "grown", found, told)
    again = Engine.from_state(*read_file(tmp_path / "grown", "grown"))
    for each in (grown, again):
        assert len(list(each.train_steps(training_data, each.plan))) == 2
    assert same(grown, again)
    assert engine.state()[1] == header  # undone by going on with what was there
    assert all(torch.equal(value, tensors[name]) for name, value in engine.state()[0].items())


@pytest.mark.parametrize("architecture", ["byte", "patch"])
def test_kernels_read_what_has_grown(architecture: str, training_data: ByteData) -> None:
    engine = trained(an_engine(architecture, position="sinusoidal"), training_data)
    said = [
        run(each.infer_steps(b"the ", 20, SamplingConfig(temperature=0.5, seed=3)))[0]
        for each in (engine, double_width(add_layer(engine)), double_length(engine))
    ]
    assert said[0].data == said[1].data == said[2].data
    assert [one.bits_per_byte for one in said[1:]] == [pytest.approx(said[0].bits_per_byte, abs=1e-5)] * 2


def test_limits_are_told_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "state", lambda *_: pytest.fail("computed"))
    config = EngineConfig(model=preset_config("tiny", d_model=8192, nhead=128, max_seq_len=131_072, num_layers=128))
    for step, named in (("width", "d_model=16384"), ("layer", "num_layers=129"), ("context", "max_seq_len=131072")):
        with pytest.raises(ConfigError, match=rf"{named}.*row"):
            grown_config(config, step)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_layers=129"):
        next_growth(config)
    with pytest.raises(ConfigError, match="no network"):
        grow(Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))), "layer")


def test_the_cycle_goes_on_from_the_last_growth_and_passes_over_limits() -> None:
    config = an_engine("byte").config
    seen = []
    for _ in range(5):
        seen.append(next_growth(config))
        config = grown_config(config, seen[-1])
    assert seen == ["layer", "width", "context", "layer", "width"]
    longest = config.model.model_copy(update={"max_seq_len": 131_072})
    assert next_growth(config.model_copy(update={"model": longest})) == "layer"


def test_what_is_carried_from_the_old_network_is_refused_or_dropped(training_data: ByteData) -> None:
    engine = an_engine("byte", ngram_rows=0, attention="full")
    steps = engine.train_full_sequence(training_data.part(0, 480), ctx_bits=24 * 9)
    next(steps)
    with pytest.raises(ModelStateError, match=r"at step 1.*finish"):
        add_layer(engine)
    for _ in steps:
        pass
    assert engine.state()[1]["carried"] and not add_layer(engine).state()[1]["carried"]
