"""The bound of networks trained by diffusion: by hand, repeatable, and told only where it means something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bitlm_core import ByteData, Engine, EngineConfig, TrainingPlan
from bitlm_core.diffusion.schedule import Masking
from bitlm_core.scoring import bound
from bitlm_core.scoring.bound import bound_steps
from tests.conftest import run
from tests.core.models.networks import a_model

Configs = Callable[..., EngineConfig]


@pytest.fixture(scope="module")
def diffused(config_of: Configs, training_data: ByteData) -> Engine:
    engine = Engine(config_of("byte", mixing=None))
    for _ in engine.train_steps(training_data, TrainingPlan(steps=30, objective="diffusion")):
        pass
    return engine


def test_an_untrained_network_needs_eight_bits(config_of: Configs, architecture: str) -> None:
    model, data = Engine(config_of(architecture, mixing=None)).model, np.arange(200, dtype=np.uint8)
    assert model is not None
    for unit in ("byte", "bit"):
        found = run(bound_steps(model, data, masking=Masking(unit)))  # type: ignore[arg-type]
        assert found.bits_per_byte_bound == pytest.approx(8.0) and found.standard_error == pytest.approx(0.0, abs=1e-5)
        assert found.num_bytes == 200 and found.draws >= bound.LEAST_DRAWS


def test_it_is_told_of_networks_trained_by_diffusion_alone(diffused: Engine, text: bytes) -> None:
    data = np.frombuffer(text[90_000:91_000], np.uint8)
    shares = list(diffused.evaluate_steps(data))
    assert shares == sorted(shares) and shares[-1] == 1.0
    found = run(diffused.evaluate_steps(data))
    assert found.bits_per_byte_bound is not None and 3 < found.bits_per_byte_bound < 7
    assert run(diffused.evaluate_steps(data)) == found
    assert run(Engine(diffused.config).evaluate_steps(data)).bits_per_byte_bound is None
    spans = np.array([[0, 300], [300, 1000]], np.int64)
    scores = run(diffused.score_steps(data, spans, adaptive=False))
    assert scores.likelihood.bits_per_byte_bound == pytest.approx(found.bits_per_byte_bound, abs=0.5)


def test_documents_are_cut_one_by_one_and_much_data_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = a_model("byte"), np.arange(240, dtype=np.uint8)
    found = run(bound_steps(model, data, [(0, 30), (40, 41), (41, 41)]))
    assert found.num_bytes == 31
    monkeypatch.setattr(bound, "MOST_BYTES", 100)
    assert run(bound_steps(model, data)).num_bytes == 4 * 24
    with pytest.raises(ValueError, match="no bytes"):
        run(bound_steps(model, data, [(5, 5)]))


@torch.no_grad()
def test_it_is_the_mean_over_all_orders() -> None:
    """Of two bytes there are two orders: the bound is the mean of what they cost, and above what their mixture costs."""
    model, data = a_model("byte"), torch.tensor([[65, 200]])

    def bits(place: int, known: list[int]) -> float:
        nodes = model.predict_masked(data, torch.tensor([known])).nodes[0, place]
        path = bound.hidden_nats(nodes[None, None], data[:, place : place + 1], torch.zeros(1, 1, dtype=torch.int64), Masking())
        return float(path) / float(np.log(2))

    left_first, right_first = bits(0, [0, 0]) + bits(1, [255, 0]), bits(1, [0, 0]) + bits(0, [0, 255])
    many = np.tile(np.array([65, 200], np.uint8), 3000)
    pairs = [(at, at + 2) for at in range(0, 6000, 2)]
    found = run(bound_steps(model, many, pairs))
    assert abs(found.bits_per_byte_bound - (left_first + right_first) / 4) < 6 * found.standard_error + 1e-3
    mixture = -np.log2((2**-left_first + 2**-right_first) / 2) / 2
    assert (left_first + right_first) / 4 >= mixture
