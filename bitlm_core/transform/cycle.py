"""What growing makes of a config, and which growth is next in the cycle layer → width → context. No torch in here."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.models.config import MAX_POSITIONS, ModelConfig, describe_invalid
from bitlm_core.training.growing import CYCLE, Growth


def grown_config(config: EngineConfig, step: Growth) -> EngineConfig:
    """What `grow` would make, before anything is computed. Raises ConfigError as `grow`."""
    model = config.model
    if not model.has_network:
        raise ConfigError(
            "architecture='mix' has no network that could grow: its tables are as large as memory_mib; use architecture='byte'"
        )
    if model.quantized:
        raise ConfigError(
            f"the network is quantised ({model.quantized}), and what would be new of it lies on no grid: make it float32 with "
            "quantize_model(mode='float32'), let that grow, and quantise it again"
        )
    if step == "context" and 2 * model.max_seq_len > MAX_POSITIONS:
        raise ConfigError(
            f"max_seq_len={model.max_seq_len} cannot be doubled, there are at most {MAX_POSITIONS} positions: grow by a layer "
            "or by width"
        )
    try:
        grown = ModelConfig(**{**model.model_dump(), **_sizes(model, step)})
        return EngineConfig(**{**config.model_dump(), "model": grown, "last_growth": step})
    except ValidationError as error:
        raise ConfigError(f"the model cannot grow by {step}: {describe_invalid(error)}. Grow in another way") from None


def next_growth(config: EngineConfig) -> Growth:
    """The step after the last one in the cycle layer → width → context that no limit stands against.

    Raises ConfigError where none is left.
    """
    begin = CYCLE.index(config.last_growth) + 1 if config.last_growth else 0
    turn = CYCLE[begin:] + CYCLE[:begin]
    reasons = []
    for step in turn:
        try:
            grown_config(config, step)
        except ConfigError as error:
            reasons.append(error)
        else:
            return step
    raise reasons[0]


def _sizes(model: ModelConfig, step: Growth) -> dict[str, Any]:
    """The fields that change."""
    if step == "layer":
        return {"num_layers": model.num_layers + 1}
    if step == "context":
        return {"max_seq_len": 2 * model.max_seq_len}
    doubled: dict[str, Any] = {name: 2 * getattr(model, name) for name in ("d_model", "nhead", "dim_feedforward")}
    if model.position == "sinusoidal":
        doubled["sinusoid_copies"] = 2 * model.sinusoid_copies
    if model.patch is not None:
        local = {name: 2 * getattr(model.patch, name) for name in ("local_width", "local_heads")}
        doubled["patch"] = {**model.patch.model_dump(), **local}
    return doubled
