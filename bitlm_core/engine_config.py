"""All that makes an engine: the header of every checkpoint. No torch in here."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bitlm_core.device import estimate_memory_bytes
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.config import ModelConfig
from bitlm_core.safety.floors import Floors
from bitlm_core.training.config import TrainingConfig


class EngineConfig(BaseModel):
    """A network, how it is trained, whether context mixing stands beside it, and what the gate demands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    mixing: Annotated[MixingConfig | None, Field(description="null: the network alone")] = MixingConfig()
    floors: Floors = Floors()
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of the initial weights, batches and dropout")] = 0


def estimate_engine_bytes(config: EngineConfig) -> int:
    """Upper estimate of the memory that training and using an engine of this config take, before it exists."""
    window = min(config.training.window_bytes or config.model.max_bytes, config.model.max_bytes)
    return estimate_memory_bytes(
        config.model,
        batch_size=-(-config.training.batch_size // config.training.accumulation),
        window_bytes=window,
        element_bytes=2 if config.training.use_autocast else 4,
        # Scoring keeps two copies of the tables beside the original; saving or loading meanwhile, one more.
        mixing_bytes=4 * (config.mixing.memory_mib << 20) if config.mixing else 0,
    )
