"""Quantised models: another engine, with its network's weights on the grid of int8 or int4, see `models.grid`.

    int8    a scale per row
    int4    groups of 32, each with a whole multiple of its row's scale
    qat     before they are rounded for good, weights learn while passes see them rounded, see `straight_through`

The network computes with what its weights are then, whoever asks it; the compiled kernels, on integers (`own_weights`), so
generation and coding are faster. Context mixing is integers already, and stays as it is. What is quantised learns no more:
optimizer moments are dropped, and `dequantize` makes an engine that can.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from typing import Any

from bitlm_core import learning
from bitlm_core.checkpoint.network import network_tensors
from bitlm_core.engine import Engine
from bitlm_core.engine_config import check_quantization
from bitlm_core.errors import ConfigError
from bitlm_core.models.config import Quantized
from bitlm_core.models.grid import check_roundable, put_on_grid
from bitlm_core.steps import finished, scaled
from bitlm_core.training.batches import sample_windows
from bitlm_core.training.config import TrainingPlan
from bitlm_core.training.data import ByteData
from bitlm_core.training.trainer import Trainer
from bitlm_core.transform.straight_through import StraightThrough

QAT_RATE = 0.1
"""Of the learning rate: the network is to find good places on the grid near where it is."""


def quantize(engine: Engine, mode: Quantized = "int8", *, qat_steps: int = 0, data: ByteData | None = None) -> Engine:
    """As `quantize_steps`, at once."""
    return finished(quantize_steps(engine, mode, qat_steps=qat_steps, data=data))


def quantize_dynamic(engine: Engine) -> Engine:
    """int8 weights, and activations quantised as they come: `quantize(engine, "int8")`."""
    return quantize(engine, "int8")


def quantize_steps(
    engine: Engine, mode: Quantized = "int8", *, qat_steps: int = 0, data: ByteData | None = None
) -> Generator[float, None, Engine]:
    """A quantised engine; the one given stays as it is. Yields the share done.

    qat_steps: optimizer steps on `data` with rounded weights before, with the engine's settings at a tenth of their rate. A
    quantised engine is quantised anew from what its weights are. Raises ConfigError for no network, and for steps without
    data or data without steps; ModelStateError for weights that are not finite.
    """
    check_quantization(engine.config.model, qat_steps, data is not None)
    assert engine.model is not None  # noqa: S101 - the check was for that
    check_roundable(engine.model)
    yield 0.0
    made = _copied(engine, None)
    if data is not None:
        yield from scaled(adapt_steps(made, data, qat_steps, mode), 0.0, 0.95)
    assert made.model is not None  # noqa: S101
    put_on_grid(made.model, mode)
    return _marked(made, mode)


def dequantize(engine: Engine) -> Engine:
    """An engine of the same weights that can learn, with fresh moments. Raises ConfigError for one that is not quantised."""
    if engine.config.model.quantized is None:
        raise ConfigError("the network is float32 already, so there is nothing to undo: train it as it is")
    return _copied(engine, None)


def network_bytes(engine: Engine) -> int:
    """What the network takes in a checkpoint, in bytes; 0 where there is none. Raises ModelStateError as saving does."""
    return sum(tensor.nbytes for tensor in network_tensors(engine.model).values()) if engine.model else 0


def adapt_steps(engine: Engine, data: ByteData, steps: int, mode: Quantized | None) -> Generator[float, None, None]:
    """Let an engine's network learn while passes see its weights rounded; None: exact, which is what to compare with.

    Yields the share done. The rate is a tenth of the engine's, falling to nothing. Raises as training does.
    """
    config, trainer = engine.config, engine.trainer
    assert trainer is not None  # noqa: S101 - there is a network
    objective = engine.plan.objective if engine.plan else "causal"
    learning.check_data(data, TrainingPlan(steps=steps), None)
    learning.prepare(engine.model, data)
    rate = config.training.learning_rate * QAT_RATE
    trainer.configure(config.training.model_copy(update={"learning_rate": rate, "decay_share": 1.0}))
    length = min(config.training.window_bytes or config.model.max_bytes, config.model.max_bytes, len(data))
    windows, around = config.training.num_windows(length), StraightThrough(trainer.model, mode) if mode else nullcontext()
    composite = learning.composite_term(config, engine.reference)
    for done in range(steps):
        batch = sample_windows(data, batch=windows, length=length, seed=config.seed, step=engine.step)
        passes = done * batch.num_bytes / len(data)
        told: dict[str, Any] = {"objective": objective, "step": engine.step, "progress": done / steps, "passes": passes}
        trainer.step(batch, composite=composite, weights=around, **told)
        engine.step += 1
        engine.diffusion_steps += objective != "causal"
        yield (done + 1) / steps


def _copied(engine: Engine, quantized: Quantized | None) -> Engine:
    """Another engine that is the same, but for the grid that its weights are said to lie on."""
    tensors, header = engine.state()
    kept = {name: value for name, value in tensors.items() if not name.startswith("carried.")}
    device = str(engine.model.device) if engine.model else "cpu"
    return _marked(Engine.from_state(kept, header | {"carried": None}, device), quantized)


def _marked(engine: Engine, quantized: Quantized | None) -> Engine:
    """The engine, told which grid its weights lie on; one with such a grid has no moments."""
    model = engine.model
    assert model is not None  # noqa: S101
    for network in model.networks:
        network.config = network.config.model_copy(update={"quantized": quantized})
    engine.config = engine.config.model_copy(update={"model": model.config})
    if quantized:
        engine.trainer = Trainer(model, engine.config.training, engine.config.seed)
    return engine
