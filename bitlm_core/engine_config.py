"""All that makes an engine: the header of every checkpoint. No torch in here."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.device import estimate_memory_bytes
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.config import ModelConfig
from bitlm_core.safety.floors import Floors
from bitlm_core.telemetry.config import TelemetryConfig
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.growing import Growth

MAX_QAT_STEPS = 1_000_000


class EngineConfig(BaseModel):
    """A network, how it is trained, whether context mixing stands beside it, how it is watched, and what the gate demands.

    Raises ConfigError for architecture='mix' without context mixing, or with settings that only networks have, and for a
    composite loss of nothing that this network has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[ModelConfig, Field(description="the network, or none")] = ModelConfig()
    training: Annotated[TrainingConfig, Field(description="of the network: optimizer and batches")] = TrainingConfig()
    mixing: Annotated[MixingConfig | None, Field(description="null: the network alone")] = MixingConfig()
    floors: Annotated[Floors, Field(description="what the safety gate demands of outputs")] = Floors()
    telemetry: Annotated[TelemetryConfig, Field(description="what is measured, and what counts as drift")] = TelemetryConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31, description="of the initial weights, batches and dropout")] = 0
    last_growth: Annotated[Growth | None, Field(description="the latest step by which the network grew")] = None

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if self.mixing is None and not self.model.has_network:
            raise ConfigError(
                "architecture='mix' is context mixing alone: without it (context_mixing=false) nothing would be left to learn. "
                "Leave context_mixing true, or choose architecture='byte'"
            )
        check_training(self.model, self.training)
        check_telemetry(self.model, self.telemetry)
        return self

    def watching(self, telemetry: TelemetryConfig, floors: Floors) -> EngineConfig:
        """The same, watched in another way. Raises ConfigError for a composite loss that this network cannot have."""
        check_telemetry(self.model, telemetry)
        return self.model_copy(update={"telemetry": telemetry, "floors": floors})


def check_training(model: ModelConfig, training: TrainingConfig, plan: TrainingPlan | None = None) -> None:
    """Raise ConfigError for settings or a plan that this network, or none at all, cannot be trained with."""
    if plan and model.quantized:
        raise ConfigError(
            f"the network is quantised ({model.quantized}), and what lies on a grid cannot learn by small steps: train the "
            "model that it was made of and quantise it again, or make this one trainable with quantize_model(mode='float32')"
        )
    if model.architecture == "patch":
        _check_patches(model, training, plan)
    if training.feeds and model.has_network:
        _check_feeding(training, plan)
    if model.has_network:
        windows = training.num_windows(_window_bytes(model, training))
        if plan and plan.objective == "mixed" and windows < 2 * training.accumulation:
            raise ConfigError(
                f"objective='mixed' trains every second window by diffusion, and batch_size={windows} with "
                f"accumulation={training.accumulation} has parts of one window: use a batch_size of at least twice the "
                "accumulation"
            )
        return
    own = TrainingConfig(telemetry_every=training.telemetry_every)
    named = [
        f"{name}={getattr(training, name)!r}"
        for name in own.model_fields_set ^ TrainingConfig.model_fields.keys()
        if getattr(training, name) != getattr(own, name)
    ]
    if plan and plan.objective != "causal":
        named.append(f"objective={plan.objective!r}")
    if plan and plan.carry:
        named.append("carry=True")
    if plan and plan.growing:
        named.append("progressive=True")
    if named:
        raise ConfigError(
            f"{', '.join(sorted(named))}: only networks are trained with that, and architecture='mix' has none: it reads its "
            "data in order, each byte once. Leave that out, or use a model with architecture='byte'"
        )


def check_quantization(model: ModelConfig, qat_steps: int, has_data: bool) -> None:
    """Raise ConfigError for what cannot be quantised so."""
    if not model.has_network:
        raise ConfigError(
            "architecture='mix' has no network that could be quantised, and context mixing is integers already: use a model "
            "with architecture='byte'"
        )
    if not 0 <= qat_steps <= MAX_QAT_STEPS:
        raise ConfigError(f"qat_steps={qat_steps} is not between 0 and {MAX_QAT_STEPS:,}: give a number in between")
    if bool(qat_steps) != has_data:
        given, lacking = ("data", "qat_steps") if has_data else (f"qat_steps={qat_steps}", "data")
        raise ConfigError(
            f"{given} without {lacking}: steps with rounded weights need both of them, and rounding alone neither"
        )


def _check_patches(model: ModelConfig, training: TrainingConfig, plan: TrainingPlan | None) -> None:
    if training.compile:
        raise ConfigError(
            "compile=true makes code for one number of positions, and with architecture='patch' every batch has another number "
            "of patches: train with compile=false"
        )
    if plan and plan.carry:
        raise ConfigError(
            "carry=true: architecture='patch' carries no keys and values from window to window: train on windows without it, "
            "with a larger max_seq_len for what is far apart, or use architecture='byte'"
        )
    if plan and plan.objective != "causal" and model.diffusion is None:
        raise ConfigError(
            f"objective={plan.objective!r} hides bytes, at which architecture='patch' would cut its patches: make the model "
            "with diffusion='own', a byte network for masked predictions beside it, or train with objective='causal'"
        )


def _check_feeding(training: TrainingConfig, plan: TrainingPlan | None) -> None:
    asked = f"compress_prob={training.compress_prob:g}, direct_prob={training.direct_prob:g}"
    if training.compile and training.direct_prob:
        raise ConfigError(
            f"compile=true makes code for one number of positions, and with direct_prob={training.direct_prob:g} each step has "
            "streams of another length: train with compile=false, or without direct_prob"
        )
    if plan and plan.objective != "causal":
        raise ConfigError(
            f"{asked}: how well windows are foretold is told apart for raw, compressed and direct ones, and "
            f"objective={plan.objective!r} foretells hidden bytes alone: train with objective='causal', or without these"
        )
    if plan and plan.carry:
        raise ConfigError(
            f"{asked}: carry=true reads one stream of data in order, in which no part can be shown as something else: train "
            "without carry, or without these"
        )


def check_telemetry(model: ModelConfig, telemetry: TelemetryConfig) -> None:
    """Raise ConfigError for a composite loss where no part of it has a gradient."""
    if not telemetry.composite_loss:
        return
    if not model.has_network:
        raise ConfigError(
            f"composite_loss={telemetry.composite_loss:g} is a term of a network's loss, and architecture='mix' has none: "
            "leave it 0, or use a model with architecture='byte'"
        )
    if model.architecture == "bit" and not telemetry.lambda_k:
        raise ConfigError(
            f"composite_loss={telemetry.composite_loss:g} is of K alone in a bit model, and lambda_k is 0: set lambda_k "
            "above 0, or composite_loss to 0"
        )


def estimate_engine_bytes(config: EngineConfig) -> int:
    """Upper estimate of the memory that training and using an engine of this config take, before it exists."""
    # Scoring keeps two copies of the tables beside the original; saving or loading meanwhile, one more.
    mixing_bytes = 4 * (config.mixing.memory_mib << 20) if config.mixing else 0
    window = _window_bytes(config.model, config.training)
    return estimate_memory_bytes(
        config.model,
        batch_size=-(-config.training.num_windows(window) // config.training.accumulation),
        window_bytes=window,
        element_bytes=2 if config.training.use_autocast else 4,
        mixing_bytes=mixing_bytes,
    )


def _window_bytes(model: ModelConfig, training: TrainingConfig) -> int:
    return min(training.window_bytes or model.max_bytes, model.max_bytes)
