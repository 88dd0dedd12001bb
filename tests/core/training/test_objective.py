"""Diffusion and mixed training: what is minimised, what is trained by it, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bitlm_core import ByteData, ConfigError, Engine, EngineConfig, TrainingConfig, TrainingPlan
from bitlm_core.diffusion.schedule import Masking
from bitlm_core.learning import held_out_bound, held_out_loss
from bitlm_core.training.batches import Batch
from bitlm_core.training.objective import batch_loss
from tests.core.models.networks import a_model, some_bytes

Configs = Callable[..., EngineConfig]


def trained(engine: Engine, data: ByteData, **plan: Any) -> list[float]:
    steps = {"steps": 2, **plan}
    return [report.loss for report in engine.train_steps(data, TrainingPlan(**steps))]


def with_diffusion(config: EngineConfig, diffusion: str) -> EngineConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"diffusion": diffusion})})


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in engine.state()[0].items() if name.startswith("model.")}


def test_mixed_is_every_second_window_each_way(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes(5)
    found = batch_loss(model, Batch(data), "mixed", torch.Generator().manual_seed(1))
    causal = batch_loss(model, Batch(data[0::2]), "causal", torch.Generator())
    masked = batch_loss(model, Batch(data[1::2]), "diffusion", torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.nats, 0.6 * causal.nats + 0.4 * masked.nats)
    torch.testing.assert_close(found.minimised, 0.6 * causal.minimised + 0.4 * masked.minimised)
    assert torch.equal(found.path_logits[0::2], causal.path_logits)
    assert torch.equal(found.path_logits[1::2], masked.path_logits)


def test_mixed_training_of_a_network_that_halts_ponders_both_ways() -> None:
    model, data = a_model("byte", use_act=True, act_threshold=0.5), some_bytes(4)
    plain = batch_loss(model, Batch(data), "mixed", torch.Generator().manual_seed(1))
    found = batch_loss(model, Batch(data), "mixed", torch.Generator().manual_seed(1), ponder_cost=0.5)
    assert found.trace.ponder is not None and found.trace.mean_layers > 1
    torch.testing.assert_close(found.minimised, plain.minimised + 0.5 * found.trace.ponder)


@pytest.mark.parametrize("unit", ["byte", "bit"])
def test_what_is_minimised_leads_where_the_bound_falls(architecture: str, unit: str) -> None:
    model, data = a_model(architecture), some_bytes(8)
    for parameter in model.parameters():
        parameter.grad = None
    masking = Masking(unit)  # type: ignore[arg-type]
    before = batch_loss(model, Batch(data), "diffusion", torch.Generator().manual_seed(1), masking=masking)
    before.minimised.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                grad = parameter.grad.to_dense()
                parameter.sub_(0.02 * grad)
    after = batch_loss(model, Batch(data), "diffusion", torch.Generator().manual_seed(1), masking=masking)
    assert after.minimised < before.minimised and after.nats < before.nats


def test_each_of_two_networks_learns_by_its_own_objective(
    config_of: Configs, architecture: str, training_data: ByteData
) -> None:
    engine = Engine(with_diffusion(config_of(architecture, mixing=None), "own"))
    fresh = weights(engine)
    for objective, moves_masked, moves_causal in (
        ("causal", False, True),
        ("diffusion", True, False),
        ("causal", False, True),
        ("mixed", True, True),
    ):
        before = weights(engine)
        trained(engine, training_data, objective=objective)
        moved = {name for name, value in weights(engine).items() if not torch.equal(value, before[name])}
        assert any("masked_network" in name for name in moved) == moves_masked
        assert any("masked_network" not in name for name in moved) == moves_causal
    assert fresh.keys() == weights(engine).keys() and engine.diffusion_steps == 4
    again = Engine.from_state(*engine.state())
    assert trained(again, training_data, objective="mixed") == trained(engine, training_data, objective="mixed")


def test_causal_training_does_not_move_what_reads_both_sides(config_of: Configs, training_data: ByteData) -> None:
    plain = config_of("byte", mixing=None)
    shared = with_diffusion(plain, "shared")
    engine = Engine(shared)
    trained(engine, training_data, objective="diffusion")
    before = weights(engine)
    trained(engine, training_data)
    moved = {name for name, value in weights(engine).items() if not torch.equal(value, before[name])}
    assert "model.ngram_embedding.weight" in moved
    assert not moved & {"model.neighbour_embedding.weight", "model.group_embedding.weight"}
    assert trained(Engine(shared), training_data) == trained(Engine(plain), training_data)


def test_bits_and_curricula_are_resumed_bit_for_bit(config_of: Configs, training_data: ByteData) -> None:
    config = config_of("byte", mixing=None, training=TrainingConfig(batch_size=4))
    plan = TrainingPlan(steps=6, objective="diffusion", mask_unit="bit", noise_curriculum=True)
    whole, half = Engine(config), Engine(config)
    expected = [report.loss for report in whole.train_steps(training_data, plan)]
    steps = half.train_steps(training_data, plan)
    found = [next(steps).loss for _ in range(3)]
    resumed = Engine.from_state(*half.state())
    assert resumed.plan is not None and resumed.plan.masking == Masking("bit", pytest.approx(0.8 * (1 - 0.5 / 0.7)))
    assert found + [report.loss for report in resumed.train_steps(training_data, resumed.plan)] == expected
    assert trained(Engine(config), training_data, steps=6, objective="diffusion") != expected


def test_what_hides_nothing_takes_no_masks(config_of: Configs, training_data: ByteData) -> None:
    for given in ({"mask_unit": "bit"}, {"noise_curriculum": True}):
        with pytest.raises(ValueError, match="hides nothing"):
            TrainingPlan(steps=1, **given)  # type: ignore[arg-type]
    engine = Engine(config_of("byte", training=TrainingConfig(batch_size=3, accumulation=2)))
    with pytest.raises(ConfigError, match="batch_size=3 with accumulation=2"):
        trained(engine, training_data, objective="mixed")
    assert engine.step == 0


@pytest.mark.parametrize(("objective", "unit"), [("diffusion", "byte"), ("diffusion", "bit"), ("mixed", "byte")])
def test_a_training_looks_at_what_it_lowers(objective: str, unit: str, config_of: Configs, training_data: ByteData) -> None:
    engine, held = Engine(config_of("byte", mixing=None)), training_data.part(0, 2000)
    plan = TrainingPlan(steps=1, objective=objective, mask_unit=unit, validate_every=1)  # type: ignore[arg-type]
    (report,) = engine.train_steps(training_data, plan, held)
    assert engine.model is not None
    bound = held_out_bound(engine.model, held, Masking(unit)).bits_per_byte_bound * math.log(2)  # type: ignore[arg-type]
    expected = bound if objective == "diffusion" else (bound + held_out_loss(engine.model, held)) / 2
    assert report.held_out_loss == pytest.approx(expected) and report.held_out_loss != held_out_loss(engine.model, held)
