"""The composite loss: what it is made of, that gradients reach the network, what it changes, and where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bitlm_core import ByteData, ConfigError, Engine, EngineConfig, TelemetryConfig, TrainingPlan, preset_config
from bitlm_core.learning import composite_term
from bitlm_core.telemetry import negentropy_of_logits
from bitlm_core.telemetry import symbiosis as measured_symbiosis
from bitlm_core.training import composite
from bitlm_core.training.batches import Batch
from bitlm_core.training.composite import Composite, Predictions, composite_loss, composite_of, negentropy, symbiosis
from bitlm_core.training.objective import batch_loss
from tests.core.models.networks import a_model, some_bytes

Configs = Callable[..., EngineConfig]
COUNTS = torch.arange(256.0)


def test_k_and_s_are_those_of_telemetry_and_have_gradients() -> None:
    logits = 4 * torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    probs = torch.rand(256, generator=torch.Generator().manual_seed(2)) ** 8
    assert float(negentropy(logits)) == pytest.approx(negentropy_of_logits(logits.numpy()), abs=1e-5)
    assert float(symbiosis(probs / probs.sum(), COUNTS)) == pytest.approx(
        measured_symbiosis(probs.numpy(), COUNTS.numpy()), abs=1e-5
    )
    wide = torch.tensor([0.0, 1e4, -1e4, 30.0], dtype=torch.float64, requires_grad=True)
    some = logits[:2].double().requires_grad_()
    assert torch.autograd.gradcheck(negentropy, (some,))
    peaked = torch.nn.functional.one_hot(torch.tensor(3), 256).float().requires_grad_()
    (negentropy(wide) + symbiosis(peaked, COUNTS)).backward()  # type: ignore[no-untyped-call]
    assert wide.grad is not None and peaked.grad is not None
    assert bool(wide.grad.isfinite().all()) and bool(peaked.grad.isfinite().all())


def test_the_term_is_one_less_the_score_by_the_weights() -> None:
    data = torch.arange(256)[None]
    uniform = Predictions(torch.zeros(4, 8), torch.zeros(4, 256))
    term = Composite(0.5, 1.0, 3.0, torch.ones(256))
    assert float(composite_loss(uniform, data, term)) == pytest.approx(0.5 * (1 - (0 + 3 * 1) / 4))
    first = composite_loss(uniform, data, term._replace(reference=torch.zeros(256)))  # nothing known yet: the batch, even too
    assert float(first) == pytest.approx(0.125)
    sure = uniform._replace(path_logits=torch.full((4, 8), 50.0), nodes=None)
    assert float(composite_loss(sure, data, term._replace(lambda_s=0.0))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("objective", ["causal", "diffusion", "mixed"])
@pytest.mark.parametrize("form", [{}, {"reversible": True}])
def test_gradients_of_the_term_reach_the_whole_network(architecture: str, objective: Any, form: dict[str, Any]) -> None:
    model, data = a_model(architecture, **form), some_bytes(4)
    asked = composite_of(2.0, (1, 1, 1), COUNTS.double().numpy(), whole_bytes=architecture == "byte")
    found = {}
    for term in (None, asked):
        loss = batch_loss(model, Batch(data), objective, torch.Generator().manual_seed(1), composite=term)
        model.zero_grad(set_to_none=True)
        loss.minimised.backward()  # type: ignore[no-untyped-call]
        grads = {name: one.grad.to_dense() for name, one in model.named_parameters() if one.grad is not None}
        found[term is not None] = loss.nats, grads, loss.minimised.detach()
        assert loss.trace.graph_nodes is None
    assert torch.equal(found[False][0], found[True][0])  # what is reported is the same
    assert 0 < float(found[True][2] - found[False][2]) <= 2
    assert found[False][1].keys() == found[True][1].keys()
    moved = [name for name, grad in found[True][1].items() if not torch.equal(grad, found[False][1][name])]
    assert any("head" in name for name in moved) and any("embedding" in name for name in moved)


def test_off_by_default_and_then_nothing_is_computed(
    config_of: Configs, training_data: ByteData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("byte", mixing=None)
    assert composite_term(config, np.ones(256)) is None
    monkeypatch.setattr(composite, "composite_loss", None)  # would fail if it were called
    monkeypatch.setattr("bitlm_core.training.objective.composite_loss", None)
    assert len(list(Engine(config).train_steps(training_data, TrainingPlan(steps=1)))) == 1


def test_a_network_trained_with_it_is_surer(config_of: Configs, training_data: ByteData) -> None:
    found = {}
    for weight in (0.0, 20.0):
        telemetry = TelemetryConfig(telemetry_every=20, lambda_s=0, composite_loss=weight)
        config = config_of("byte", mixing=None, telemetry=telemetry)
        config = config.model_copy(update={"training": config.training.model_copy(update={"telemetry_every": None})})
        *_, last = Engine(config).train_steps(training_data, TrainingPlan(steps=20))
        assert last.telemetry is not None
        found[weight] = last.telemetry.k
    assert found[20.0] > found[0.0] + 0.1


def test_what_has_no_gradient_is_refused() -> None:
    with pytest.raises(ConfigError, match="lambda_k and lambda_s are both 0"):
        TelemetryConfig(composite_loss=1, lambda_k=0, lambda_s=0)
    with pytest.raises(ValidationError):
        TelemetryConfig(composite_loss=101)
    of_s = TelemetryConfig(composite_loss=1, lambda_k=0)
    for architecture, named in (("bit", "of K alone in a bit model"), ("mix", "architecture='mix' has none")):
        with pytest.raises(ConfigError, match=named):
            EngineConfig(model=preset_config("tiny" if architecture == "bit" else None, architecture), telemetry=of_s)  # type: ignore[arg-type]
    engine = Engine(EngineConfig(model=preset_config(None, "mix")))
    before = engine.config, engine.drift
    with pytest.raises(ConfigError, match="composite_loss=1"):
        engine.set_telemetry(TelemetryConfig(composite_loss=1))
    assert (engine.config, engine.drift) == before
