"""What a network is: its sizes, their bounds, the presets, and how many parameters follow. No torch in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bitlm_core.errors import ConfigError

Architecture = Literal["byte", "bit"]
Position = Literal["rotary", "sinusoidal"]
Preset = Literal["tiny", "small", "base"]

BITS_PER_GROUP = 9  # eight data bits and one parity bit


class ModelConfig(BaseModel):
    """One network. `max_seq_len` counts positions: bytes for `byte`, bits (nine a byte) for `bit`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[Architecture, Field(description="one position per byte, or one per bit")] = "byte"
    d_model: Annotated[int, Field(ge=16, le=8192, description="width of the residual stream")] = 192
    nhead: Annotated[int, Field(ge=1, le=128, description="attention heads; must divide d_model")] = 3
    num_layers: Annotated[int, Field(ge=1, le=128, description="residual blocks")] = 4
    dim_feedforward: Annotated[int, Field(ge=16, le=65536, description="inner width of the feed-forward part")] = 768
    max_seq_len: Annotated[int, Field(ge=16, le=131_072, description="positions in one window")] = 256
    dropout: Annotated[float, Field(ge=0.0, le=0.9, description="share of activations dropped in training")] = 0.0
    position: Annotated[Position, Field(description="how positions are encoded")] = "rotary"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % (2 * self.nhead):
            raise ValueError(
                f"d_model={self.d_model} cannot be split into nhead={self.nhead} heads of even width: "
                f"choose d_model as a multiple of {2 * self.nhead} (64 per head works best)"
            )
        if self.architecture == "bit" and self.max_seq_len < 2 * BITS_PER_GROUP:
            raise ValueError(f"max_seq_len={self.max_seq_len} holds less than two bytes of nine bits: use at least 18")
        return self

    @property
    def max_bytes(self) -> int:
        """Whole bytes that one window holds."""
        return self.max_seq_len if self.architecture == "byte" else self.max_seq_len // BITS_PER_GROUP


_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 128, "nhead": 2, "num_layers": 2, "dim_feedforward": 512},
    "small": {"d_model": 192, "nhead": 3, "num_layers": 4, "dim_feedforward": 768},
    "base": {"d_model": 384, "nhead": 6, "num_layers": 6, "dim_feedforward": 1536},
}
_WINDOWS: dict[str, dict[str, int]] = {
    "byte": {"tiny": 256, "small": 256, "base": 512},
    "bit": {"tiny": 576, "small": 1152, "base": 2304},
}


def preset_config(preset: Preset, architecture: Architecture = "byte", **overrides: Any) -> ModelConfig:
    """The preset with the given fields replaced.

    A new `d_model` without `nhead` keeps heads of 64 where it can, and without `dim_feedforward` keeps the ratio of 4.
    Raises ConfigError, naming each field, when a value is out of range or fields do not fit together.
    """
    fields = dict(_SIZES[preset], architecture=architecture, max_seq_len=_WINDOWS[architecture][preset])
    given = {name: value for name, value in overrides.items() if value is not None}
    if "d_model" in given:
        given.setdefault("nhead", max(1, given["d_model"] // 64))
        given.setdefault("dim_feedforward", 4 * given["d_model"])
    try:
        return ModelConfig(**{**fields, **given})
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from None


def describe_invalid(error: ValidationError) -> str:
    """A pydantic report as one line: field=value: what is wrong; …"""
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        parts.append(f"{where}={problem['input']!r}: {text}" if where else text)
    return "; ".join(parts)


def count_parameters(config: ModelConfig) -> int:
    """Parameters of the network that `build_model` would make, without making it."""
    d, ff = config.d_model, config.dim_feedforward
    block = 4 * d * d + 2 * d * ff
    embedding, head = ((258 + 9) * d, 256 * d) if config.architecture == "byte" else ((4 + 9) * d, d)
    return config.num_layers * block + embedding + head
