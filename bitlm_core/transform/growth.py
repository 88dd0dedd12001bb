"""Models that grow without forgetting: a layer more, twice the width, or windows twice as long.

    layer     a block at the end of the stack (of a byte-latent network: the one over patches) whose output projections are 0
    width     every activation twice, see `widening`; the networks over bytes and that for masked predictions grow along
    context   positions are added; of those there were nothing changes

Logits stay what they were (fp32, 1e-5). A new engine comes of it, and the one that was given stays as it is: a growth is undone
by going on with that one. Moments, mixer, telemetry, floors, counts and a plan that was begun are carried over. What a training
that carries keys and values has read cannot be, for it is made of the old network's activations.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig, check_training
from bitlm_core.errors import ModelStateError
from bitlm_core.models.build import build_model
from bitlm_core.models.config import ModelConfig
from bitlm_core.steps import finished
from bitlm_core.training.growing import Growth
from bitlm_core.transform.cycle import grown_config
from bitlm_core.transform.widening import widened_moments, widened_weights

Tensors = dict[str, Tensor]


def grow(engine: Engine, step: Growth, *, seed: int = 0) -> Engine:
    """A larger engine that answers as this one does. `seed`: of new weights, and of how old ones are divided.

    Raises ConfigError for a size above its limit or a model without a network, ModelStateError where a training that carries
    keys and values is under way.
    """
    return finished(grow_steps(engine, step, seed=seed))


def grow_steps(engine: Engine, step: Growth, *, seed: int = 0) -> Generator[float, None, Engine]:
    """As `grow`; yields the share done. With context mixing, half a minute per GiB of tables goes into copying them."""
    config = grown_config(engine.config, step)
    _check_plan(engine, config)
    yield 0.0
    tensors, header = engine.state()
    yield 0.5
    kept = {name: value for name, value in tensors.items() if not name.startswith("carried.")}
    if step == "layer":
        kept |= _of_new_layer(kept, config.model, seed)
    elif step == "width":
        kept |= _of_twice_the_width(engine, kept, seed)
    yield 0.6
    told = {**header, "config": config.model_dump(mode="json"), "carried": None}
    return Engine.from_state(kept, told, str(engine.model.device) if engine.model else "cpu")


def add_layer(engine: Engine, *, seed: int = 0) -> Engine:
    """One block more, see `grow`."""
    return grow(engine, "layer", seed=seed)


def double_width(engine: Engine, *, seed: int = 0) -> Engine:
    """Twice the width with twice the heads, see `grow`."""
    return grow(engine, "width", seed=seed)


def double_length(engine: Engine) -> Engine:
    """Windows twice as long, see `grow`. What attention in chunks sees stays its chunks."""
    return grow(engine, "context")


def _check_plan(engine: Engine, config: EngineConfig) -> None:
    plan = engine.plan
    if plan is None or plan.finished:
        return
    if plan.carry:
        raise ModelStateError(
            f"a training that carries keys and values is at step {plan.steps_done}, and what it carries is of the network as "
            "it is now: let it finish, or train without carry first, and grow then"
        )
    check_training(config.model, config.training, plan)


def _of_new_layer(tensors: Tensors, model: ModelConfig, seed: int) -> Tensors:
    """The last block's tensors, fresh, and its moments where the others have some: none yet."""
    fresh = build_model(model.model_copy(update={"ngram_rows": 0}), seed)
    last = f"stack.blocks.{model.num_layers - 1}."
    before = f"stack.blocks.{model.num_layers - 2}."
    found = {f"model.{name}": value for name, value in fresh.state_dict().items() if last in name}
    for name, value in tensors.items():
        if name.startswith("optimizer.") and before in name:
            found[name.replace(before, last)] = torch.zeros_like(value)
    return found


def _of_twice_the_width(engine: Engine, tensors: Tensors, seed: int) -> Tensors:
    model = engine.model
    assert model is not None  # noqa: S101  (the config's own rule)
    slots = model.config.patch.slots if model.config.patch else 1
    weights = {name: tensors[f"model.{name}"] for name, _ in model.named_parameters()}
    moments = {name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")}
    found = {f"model.{name}": value for name, value in widened_weights(weights, slots, seed).items()}
    return found | {f"optimizer.{name}": value for name, value in widened_moments(moments, slots).items()}
