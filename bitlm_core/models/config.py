"""What a network is: its sizes, their bounds, the presets, and how many parameters follow. No torch in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from bitlm_core.layers.sizes import rows_of
from bitlm_core.models.patch_sizes import PatchSizes

Architecture = Literal["byte", "bit", "patch", "mix"]
Attention = Literal["full", "chunked", "differential"]
Position = Literal["rotary", "sinusoidal"]
Diffusion = Literal["shared", "own"]
Quantized = Literal["int8", "int4"]
Preset = Literal["tiny", "small", "base"]

BITS_PER_GROUP = 9  # eight data bits and one parity bit
MAX_POSITIONS = 131_072
NGRAM_ORDERS = (2, 3)
PLACES = (-3, -2, -1, 1, 2, 3)
"""Relative to a byte that is predicted from both sides: its neighbours, each with a table of its own."""
GROUPS = ((-1, 1), (1, 2), (-2, -1, 1), (-1, 1, 2), (1, 2, 3), (-2, -1, 1, 2))
"""Of places that are read together; those before the byte are n-grams already."""
DEFAULT_CHUNK = 128
MIX_BYTES = 1 << 16
"""What a model without a network reads between two safe points: less than a second."""


class ModelConfig(BaseModel):
    """One network. `max_seq_len`, `chunk_size` and `overlap` count positions: bytes for `byte`, bits (nine a byte) for `bit`.
    For `patch`, which alone has `patch`, a window is bytes, and chunks are patches.

    `reversible` and `use_checkpoint` are ways to run the same weights; everything else decides what the weights are.
    `mix` is no network at all, but context mixing alone: no other field may be given with it, and none is written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[Architecture, Field(description="a position per byte, bit or patch; mix: no network")] = "byte"
    d_model: Annotated[int, Field(ge=16, le=8192, description="width of the two residual streams")] = 192
    nhead: Annotated[int, Field(ge=1, le=128, description="attention heads; must divide d_model")] = 3
    num_layers: Annotated[int, Field(ge=1, le=128, description="residual blocks")] = 4
    dim_feedforward: Annotated[int, Field(ge=16, le=65536, description="inner width of the feed-forward part")] = 768
    max_seq_len: Annotated[int, Field(ge=16, le=MAX_POSITIONS, description="positions in one window")] = 256
    dropout: Annotated[float | None, Field(ge=0.0, le=0.9, description="share of activations dropped; null: by passes")] = None
    position: Annotated[Position, Field(description="how positions are encoded")] = "rotary"
    sinusoid_copies: Annotated[int, Field(ge=1, le=512, description="of a narrower sinusoid, side by side")] = 1
    attention: Annotated[Attention, Field(description="chunked: cost linear in length; differential: heads in pairs")] = "full"
    chunk_size: Annotated[int | None, Field(ge=1, le=MAX_POSITIONS, description="positions in a chunk of attention")] = None
    overlap: Annotated[int | None, Field(ge=0, le=MAX_POSITIONS, description="positions seen before the chunk")] = None
    reversible: Annotated[bool, Field(description="activation memory flat in depth, for about half more time")] = False
    use_checkpoint: Annotated[bool, Field(description="keep only the streams between blocks, compute the rest again")] = False
    act_threshold: Annotated[float | None, Field(gt=0, lt=1, description="sum of p where a position halts; null: never")] = None
    ngram_rows: Annotated[int, Field(ge=0, le=1 << 20, description="rows per table of hashed n-grams; 0: none")] = 0
    diffusion: Annotated[
        Diffusion | None, Field(description="masked mode: the same network, reading both sides, or its own")
    ] = None
    patch: Annotated[PatchSizes | None, Field(description="what reads bytes where attention reads patches")] = None
    quantized: Annotated[Quantized | None, Field(description="the grid that all weights lie on, see `grid`; null: none")] = None

    @model_validator(mode="after")
    def _mix_has_no_sizes(self) -> Self:
        given = sorted(self.model_fields_set - {"architecture"})
        if given and not self.has_network:
            raise ValueError(f"architecture='mix' has no network that {', '.join(given)} could describe: leave that out")
        return self

    @model_serializer(mode="wrap")
    def _told(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        if not self.has_network:
            return {"architecture": self.architecture}
        found: dict[str, Any] = told(self)
        if self.quantized is None:  # as it was before there was this field: containers hold digests of what is told
            del found["quantized"]
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        parts = 4 * self.nhead if self.attention == "differential" else 2 * self.nhead
        if self.d_model % parts:
            raise ValueError(
                f"d_model={self.d_model} cannot be split into nhead={self.nhead} heads of even width: "
                f"choose d_model as a multiple of {parts} (64 per head works best)"
            )
        widths = [self.d_model] if self.patch is None else [self.d_model, self.patch.local_width]
        if self.sinusoid_copies > 1 and (self.position != "sinusoidal" or any(w % (2 * self.sinusoid_copies) for w in widths)):
            raise ValueError(
                f"sinusoid_copies={self.sinusoid_copies} is for position='sinusoidal' and a width that is a multiple of "
                f"{2 * self.sinusoid_copies}: leave it out"
            )
        if self.architecture == "bit" and self.max_seq_len < 2 * BITS_PER_GROUP:
            raise ValueError(f"max_seq_len={self.max_seq_len} holds less than two bytes of nine bits: use at least 18")
        if self.reversible and self.use_checkpoint:
            raise ValueError("reversible and use_checkpoint both compute activations again: choose one of them")
        return self

    @model_validator(mode="after")
    def _chunks_fit(self) -> Self:
        if self.attention == "chunked" and self.chunk_size is None:
            raise ValueError(f"attention='chunked' needs a chunk_size: {DEFAULT_CHUNK} is a good one")
        if self.attention == "full" and self.chunk_size is not None:
            raise ValueError(f"chunk_size={self.chunk_size} means attention='chunked' (or 'differential'), not 'full'")
        if self.overlap is not None and self.overlap > (self.chunk_size or 0):
            raise ValueError(f"overlap={self.overlap} is more than chunk_size={self.chunk_size}: give at most that")
        if self.ngram_rows and self.architecture == "bit":
            raise ValueError(
                f"ngram_rows={self.ngram_rows} counts n-grams of bytes, which architecture='bit' does not read: use 0"
            )
        if self.architecture == "bit" and self.diffusion == "shared":
            raise ValueError(
                "diffusion='shared' adds neighbours in bytes, which architecture='bit' does not read: leave it out, and one "
                "network serves both as it is, or use 'own'"
            )
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        if (self.patch is None) == (self.architecture == "patch"):
            raise ValueError("architecture='patch' and the sizes of its patch networks (patch) belong together: give both")
        if self.architecture == "patch" and self.diffusion == "shared":
            raise ValueError(
                "diffusion='shared' would have patches cut where bytes are hidden: use 'own', a byte network beside this one"
            )
        return self

    @property
    def has_network(self) -> bool:
        """Whether there is a network; else every other field is without meaning."""
        return self.architecture != "mix"

    @property
    def max_bytes(self) -> int:
        """Whole bytes that one window holds; without a network, the most that is read at once."""
        if not self.has_network:
            return MIX_BYTES
        return self.max_seq_len // self.positions_per_byte

    @property
    def positions_per_byte(self) -> int:
        """Positions that one byte takes."""
        return BITS_PER_GROUP if self.architecture == "bit" else 1

    @property
    def chunks(self) -> tuple[int, int] | None:
        """Chunk and overlap of attention in positions; None for full attention. The overlap is a whole chunk by default."""
        if self.chunk_size is None:
            return None
        return self.chunk_size, self.chunk_size if self.overlap is None else self.overlap


def describe_invalid(error: ValidationError) -> str:
    """A pydantic report as one line: field=value: what is wrong; …"""
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        parts.append(f"{where}={problem['input']!r}: {text}" if where else text)
    return "; ".join(parts)


def of_masked_network(config: ModelConfig) -> ModelConfig:
    """What the network for masked predictions is, where a model has one of its own."""
    if config.architecture == "bit":
        return config.model_copy(update={"diffusion": None})
    return config.model_copy(update={"architecture": "byte", "patch": None, "diffusion": "shared"})


def count_parameters(config: ModelConfig) -> int:
    """Parameters of the network that `build_model` would make, without making it; 0 where there is none."""
    if not config.has_network:
        return 0
    if config.diffusion == "own":
        alone = config.model_copy(update={"diffusion": None})
        return count_parameters(alone) + count_parameters(of_masked_network(config))
    d, ff = config.d_model, config.dim_feedforward
    block = 4 * d * d + 2 * d * ff
    if config.attention == "differential":
        block += 4 * (d // config.nhead // 2)
    if config.act_threshold is not None:
        block += d + 1
    if config.patch is not None:
        return config.num_layers * block + _around_patches(config.patch, d, config.ngram_rows)
    rows, head = (258 + 9, 256 * d) if config.architecture == "byte" else (4 + 9, d)
    if config.diffusion == "shared":
        rows += len(PLACES) * 258 + sum(rows_of(group, config.ngram_rows) for group in GROUPS)
    embedding = (rows + len(NGRAM_ORDERS) * config.ngram_rows) * d
    return config.num_layers * block + embedding + head


def _around_patches(sizes: PatchSizes, d_model: int, ngram_rows: int) -> int:
    """Parameters of what stands around the transformer over patches."""
    w = sizes.local_width
    blocks = (sizes.encoder_layers + sizes.decoder_layers) * 12 * w * w
    embedding = (258 + 9 + len(sizes.ngram_orders) * ngram_rows) * w
    pooling = 3 * w * w + 2 * w * d_model
    reading = 2 * w * w + 2 * sizes.slots * w * d_model
    memory = 3 * d_model * d_model + d_model if sizes.memory_span else 0
    return blocks + embedding + pooling + reading + memory + 256 * w
